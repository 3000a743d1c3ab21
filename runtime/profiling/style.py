"""The style sheet of the report, light and dark."""

from __future__ import annotations

# (light, dark): prefill is darker than decode, related stages have similar colours
STAGE_COLOURS = {
    "preprocess": ("#8a94a0", "#8a94a0"),
    "load": ("#b9c0c8", "#5f6872"),
    "audio_encoder": ("#1f8a7d", "#35b3a4"),
    "vision_encoder": ("#5bab5a", "#6cc46b"),
    "thinker_prefill": ("#2f62a8", "#4b87d6"),
    "thinker_decode": ("#7ba3dd", "#93b8ea"),
    "talker_prefill": ("#6a45a0", "#9470d0"),
    "talker_decode": ("#a787d6", "#bda2e6"),
    "dit": ("#d9742e", "#e98a47"),
    "vocoder": ("#bf3f75", "#e0649a"),
    "other": ("#d3d7dc", "#444b53"),
}


def _variables(place: int) -> str:
    return "".join(f"--{name}:{both[place]};" for name, both in STAGE_COLOURS.items())


STYLE = (
    ":root{color-scheme:light dark;--paper:#fff;--ink:#1c2127;--soft:#5d6772;--rule:#d9dde2;"
    f"--card:#f5f6f8;--warn:#c2571a;--warned:#fdf1e8;--memory:#4f7f95;{_variables(0)}}}"
    "@media(prefers-color-scheme:dark){:root{--paper:#15181c;--ink:#e4e7ea;--soft:#9aa4af;"
    f"--rule:#31373e;--card:#1d2126;--warn:#f0955a;--warned:#33241a;--memory:#6aa3bd;{_variables(1)}}}}}"
    """
*{box-sizing:border-box}
body{font:15px/1.5 system-ui,sans-serif;max-width:1140px;margin:0 auto;padding:2em 1.2em 4em;
background:var(--paper);color:var(--ink);font-variant-numeric:tabular-nums}
h1{margin:0;font-size:1.9em;letter-spacing:-.01em}h2{margin:2.4em 0 .6em;font-size:1.35em;
border-top:1px solid var(--rule);padding-top:1em}h3{margin:1.4em 0 .3em;font-size:1em}
a{color:inherit}p{margin:.3em 0}
.soft,figcaption{color:var(--soft);font-size:.87em}code{font-size:.92em}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(440px,1fr));gap:.1em 2em;
background:var(--card);border:1px solid var(--rule);border-radius:8px;padding:.8em 1.1em;
margin:1em 0}.facts div{display:flex;gap:.8em;padding:.12em 0;font-size:.9em}
.facts b{flex:0 0 6.4em;font-weight:500;color:var(--soft)}.facts span{overflow-wrap:anywhere}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.9em}
td,th{padding:.26em .55em;text-align:right;border-bottom:1px solid var(--rule);white-space:nowrap}
th{font-weight:500;color:var(--soft)}td:first-child,th:first-child{text-align:left;padding-left:0}
thead tr:first-child th{border-bottom:0;padding-bottom:0;color:var(--ink);font-weight:600}
td.key{font-weight:650}td.late{color:var(--warn);font-weight:650}td.edge,th.edge{padding-left:1.5em}
figure{margin:1.1em 0}svg{width:100%;height:auto;display:block}
text{font:11px system-ui,sans-serif;fill:var(--ink)}text.soft{fill:var(--soft)}
text.strong{font-weight:650}line{stroke:var(--soft)}line.grid{stroke:var(--rule)}
line.mark{stroke:var(--ink);stroke-dasharray:2 3}line.pcm{stroke:var(--warn);stroke-width:2}
text.pcm{fill:var(--warn);font-weight:650}line.floor{stroke:var(--ink);stroke-width:2}
.legend{display:flex;flex-wrap:wrap;gap:.2em 1.1em;font-size:.83em;color:var(--soft);margin:.5em 0}
.legend i{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin-right:.4em;
vertical-align:-.06em}.two{display:grid;grid-template-columns:repeat(auto-fit,minmax(440px,1fr));
gap:0 2em}.lead{display:flex;flex-wrap:wrap;gap:.2em 2.4em;margin:.2em 0 .8em}
.lead b{display:block;font-size:1.7em;font-weight:650;line-height:1.2}
.lead .pcm b{color:var(--warn)}.lead span{font-size:.85em;color:var(--soft)}
.advice{border-left:4px solid var(--warn);background:var(--warned);padding:.35em .9em;
margin:.4em 0;border-radius:0 6px 6px 0}.advice b{margin-right:.4em}
summary{cursor:pointer;color:var(--soft);margin:.6em 0}
@media(max-width:600px){.two{grid-template-columns:1fr}}
"""
)
