"""What is written in the set, by us: several languages, prose, code, numbers, lists."""

from __future__ import annotations

DIALOGUES: tuple[tuple[str, ...], ...] = (
    ("Explain in three sentences why the sky is blue.",
     "Sunlight holds all colours. The air scatters short waves, which look blue, much more than "
     "long ones. So blue light reaches us from every direction, and the sky appears blue.",
     "And why is it red in the evening?"),
    ("Ich möchte am Samstag mit zwei Kindern von Köln nach Freiburg fahren. Was soll ich beachten?",
     "Reservieren Sie Plätze im Zug, denn samstags ist viel los. Die Fahrt dauert knapp drei "
     "Stunden; nehmen Sie etwas zu essen und ein Spiel mit.",
     "Und wenn der Zug Verspätung hat?"),
    ("Écris un court message pour remercier ma voisine d'avoir gardé mon chat pendant une semaine.",
     "Chère Madame, un grand merci d'avoir pris soin de Félix. Il est rentré heureux et bien "
     "nourri. Passez prendre un café quand vous voulez !",
     "Plus court, s'il te plaît."),
    ("¿Cuántos litros de pintura necesito para una pared de 4,5 m por 2,6 m, con dos manos?",
     "La pared tiene 11,7 m². Con dos manos son 23,4 m². Si un litro cubre 10 m², necesitas unos "
     "2,4 litros.",
     "¿Y si la puerta ocupa 1,9 m²?"),
    ("请用简单的话介绍一下潮汐是怎么形成的。",
     "潮汐主要是月亮的引力造成的。月亮把海水拉向自己的一面，地球另一面的海水也会鼓起来。"
     "地球自转时，同一个地方每天大约经历两次涨潮和两次退潮。",
     "太阳也有影响吗？"),
    ("明日の会議の前に読むべき資料を三つ、箇条書きで教えてください。",
     "・先月の売上報告\n・新しい倉庫の見積もり\n・お客様からの質問のまとめ",
     "二番目の資料の要点は何ですか。"),
    ("Напиши, пожалуйста, рецепт простого супа из того, что обычно есть дома.",
     "Нарежьте картофель, морковь и лук. Варите двадцать минут в подсолённой воде, добавьте "
     "немного масла и зелени.",
     "Сколько порций получится?"),
    ("ما الفرق بين الطقس والمناخ؟",
     "الطقس هو حالة الجو اليوم أو هذا الأسبوع، أما المناخ فهو متوسط الطقس خلال عشرات السنين.",
     "أعطني مثالا قصيرا."),
    ("पानी बचाने के तीन आसान तरीके बताइए।",
     "नल को खुला न छोड़ें, बारिश का पानी जमा करें, और पौधों को शाम को पानी दें।",
     "इनमें से सबसे असरदार कौन सा है?"),
    ("```python\ndef mean(values):\n    return sum(values) / len(values)\n```\nWhat happens with "
     "an empty list, and how would you fix it?",
     "`len(values)` is 0, so Python raises `ZeroDivisionError`. Decide what an empty list means: "
     "raise `ValueError(\"no values\")`, or return `math.nan`.",
     "Write the version that raises, with a type hint and a docstring."),
    ('Turn this into a table: {"oak": {"height_m": 21.5, "age": 140}, "birch": {"height_m": 17, '
     '"age": 55}, "yew": {"height_m": 9.25, "age": 410}}',
     "| tree | height | age |\n|---|---|---|\n| oak | 21.5 m | 140 |\n| birch | 17 m | 55 |\n"
     "| yew | 9.25 m | 410 |",
     "Which of them is the oldest, and by how many years?"),
    ("A train leaves at 9:42 and arrives at 13:17. It stops twice for 6 minutes. How long does it "
     "move?",
     "From 9:42 to 13:17 are 3 hours and 35 minutes, which is 215 minutes. Without 12 minutes of "
     "stops, it moves for 203 minutes.",
     "At 118 km/h on average while it moves, how far is that?"),
)  # fmt: skip
"""Question, answer, and the question that the model is left with."""

SHORT = (
    "Tell me a very short story about a lighthouse keeper who is afraid of the dark.",
    "Sag mir ein Sprichwort über Geduld.",
    "Translate into Italian: The library closes at six, but the garden stays open all night.",
    "用一句话安慰一个考试没考好的朋友。",
)

ABOUT_SOUNDS = ("What do you hear?", "Describe this sound in one sentence.", "这是什么声音？",
                "Is anybody speaking here?")  # fmt: skip
ABOUT_PICTURES = ("Describe this picture.", "What is written here?", "Was zeigt dieses Bild?",
                  "How many objects are there, and which colours do they have?")  # fmt: skip
ABOUT_CLIPS = ("Describe this clip.", "What moves, and where to?")

PAGE = (
    "Opening hours",
    "Monday to Friday    9:00 - 18:30",
    "Saturday           10:00 - 14:00",
    "Sunday                    closed",
    "Please ring the bell twice.",
)
"""What is written in a picture."""
