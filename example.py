"""Asks a bundle in three ways: for a whole reply, for one as it is spoken, in a conversation.

Run it from the root of the repository: `python example.py BUNDLE reply.wav`
"""

import sys
import wave

import omnijet

bundle, spoken = sys.argv[1:]
filmed = [
    {"type": "video", "video": "tests/media/clip.mp4"},
    {"type": "text", "text": "Which colour was shown when the beep came?"},
]
with omnijet.load(bundle) as omni:
    reply = omni.generate([{"role": "user", "content": filmed}])
    print(reply.text, reply.audio.shape, reply.sample_rate_hz)

    with wave.open(spoken, "wb") as file, omni.session() as session:
        file.setparams((1, 2, reply.sample_rate_hz, 0, "NONE", "not compressed"))
        drawn = [{"type": "image", "image": "tests/media/drawing.png"}]
        for event in session.stream([*drawn, {"type": "text", "text": "What do you see?"}]):
            if isinstance(event, omnijet.PcmChunk):
                file.writeframes(omnijet.pcm16(event.samples))
            else:
                print(event.text, end="", flush=True)
        print()
        print(session.generate([{"type": "audio", "audio": "tests/media/follow_up.wav"}]).text)
