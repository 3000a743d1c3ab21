"""Speech made while codes arrive, against the same utterance in one piece."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.speech.presets import PRESETS, SpeechPreset
from omnijet.runtime.speech.synthesis import SpeechGraphs, Synthesis
from omnijet.runtime.speech.windows import OFFICIAL, Windows

if TYPE_CHECKING:
    from omnijet.runtime.omni import Omni

EXACT = PRESETS["exact"]
BALANCED = PRESETS["balanced"]
SEED = 4
SAMPLES = 480  # of a code


@pytest.fixture(scope="module")
def graphs(omni: Omni) -> SpeechGraphs:
    return SpeechGraphs(
        omni.model.graph("dit_step"), omni.model.graph("vocoder"), omni.model.dit_tables
    )


@pytest.fixture(scope="module")
def voice(omni: Omni) -> Array:
    return omni.bundle.table("voice_Chelsie")


def codes_of(count: int) -> list[int]:
    return np.random.default_rng(count).integers(0, 8192, count).tolist()


def spoken(
    graphs: SpeechGraphs, voice: Array, preset: SpeechPreset, codes: list[int], step: int
) -> list[Array]:
    """Returns the chunks of an utterance whose codes arrive `step` at a time; `last` is alone."""
    synthesis = Synthesis(graphs, voice, SEED, preset)
    chunks: list[Array] = []
    for begin in range(0, len(codes), step):
        chunks += synthesis.push(codes[begin : begin + step])
    chunks += synthesis.push([], last=True)
    assert synthesis.finished and synthesis.vocoder.voiced == synthesis.frames == 2 * len(codes)
    return chunks


@pytest.mark.parametrize("count", [1, 11, 24, 29])
def test_an_utterance_in_one_window_is_the_offline_one(
    omni: Omni, graphs: SpeechGraphs, voice: Array, count: int
) -> None:
    codes = codes_of(count)
    preset = replace(EXACT, windows=Windows("one", chunks=(9,), ahead=1))
    (wave,) = spoken(graphs, voice, preset, codes, step=7)
    expected = omni.wave_of(omni.mel_of(codes, voice="Chelsie", seed=SEED))
    assert wave.shape == expected.shape == (SAMPLES * count,)
    assert np.abs(wave - expected).max() <= 1e-6 * np.abs(expected).max()


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
@pytest.mark.parametrize("count", [1, 13, 24, 36, 77])
def test_no_sample_is_lost_and_pushes_do_not_matter(
    graphs: SpeechGraphs, voice: Array, preset: SpeechPreset, count: int
) -> None:
    codes = codes_of(count)
    wave = np.concatenate(spoken(graphs, voice, preset, codes, step=1))
    assert wave.shape == (SAMPLES * count,)
    assert wave.std() > 1e-3
    for step in (17, 1000):
        np.testing.assert_array_equal(
            np.concatenate(spoken(graphs, voice, preset, codes, step)), wave
        )


@pytest.mark.parametrize("windows", [OFFICIAL, EXACT.windows], ids=lambda windows: windows.name)
def test_windows_sound_like_the_whole(
    omni: Omni, graphs: SpeechGraphs, voice: Array, windows: Windows
) -> None:
    codes = codes_of(101)
    wave = np.concatenate(spoken(graphs, voice, replace(EXACT, windows=windows), codes, 5))
    expected = omni.wave_of(omni.mel_of(codes, voice="Chelsie", seed=SEED))
    error = np.sqrt(np.mean((wave - expected) ** 2) / np.mean(expected**2))
    assert 0 < error < 0.03


def test_no_codes_make_no_sound(graphs: SpeechGraphs, voice: Array) -> None:
    assert spoken(graphs, voice, EXACT, [], step=1) == []


def test_a_fifth_of_a_second_sounds_after_24_codes(graphs: SpeechGraphs, voice: Array) -> None:
    synthesis = Synthesis(graphs, voice, SEED, BALANCED)
    assert list(synthesis.push(codes_of(23))) == []
    (first,) = synthesis.push([7])
    assert first.shape == (20 * 240,)


def test_without_a_guess_frames_wait_for_their_context(graphs: SpeechGraphs, voice: Array) -> None:
    synthesis = Synthesis(graphs, voice, SEED, replace(BALANCED, guess=False))
    (first,) = synthesis.push(codes_of(24))
    assert first.shape == (4 * 240,)  # of 24 mel frames 20 are context


def test_a_guessed_context_is_nearer_than_none(
    omni: Omni, graphs: SpeechGraphs, voice: Array
) -> None:
    """A guess at the next frames is nearer to the truth than silence is."""
    codes = codes_of(60)
    whole = omni.wave_of(omni.mel_of(codes, voice="Chelsie", seed=SEED))

    def error(preset: SpeechPreset) -> float:
        wave = np.concatenate(spoken(graphs, voice, preset, codes, step=1))
        return float(np.mean((wave - whole) ** 2) / np.mean(whole**2))

    blind = replace(EXACT, windows=Windows("blind", chunks=(1, 2, 4), ahead=0), context=0)
    assert error(EXACT) < error(blind) / 10


def test_a_window_that_leaves_nothing_behind_it_still_ends(
    graphs: SpeechGraphs, voice: Array
) -> None:
    """The last code may be committed before it is known to be the last, without look-ahead."""
    preset = replace(BALANCED, windows=Windows("blind", chunks=(1,), ahead=0))
    wave = np.concatenate(spoken(graphs, voice, preset, codes_of(24), step=12))
    assert wave.shape == (SAMPLES * 24,)


def test_check_runs_before_every_graph_call_and_cancels(graphs: SpeechGraphs, voice: Array) -> None:
    class Cancelled(Exception):
        pass

    def speak(limit: int) -> int:
        """How often it was asked."""
        asked = 0

        def check() -> None:
            nonlocal asked
            asked += 1
            if asked == limit:
                raise Cancelled

        synthesis = Synthesis(graphs, voice, SEED, BALANCED)
        list(synthesis.push(codes_of(50), last=True, check=check))
        return asked

    window = len(BALANCED.solver.evaluations) + 1  # and the vocoder
    assert speak(limit=1000) == 3 * window
    with pytest.raises(Cancelled):
        speak(limit=window + 4)


def test_graphs_are_bound_once_for_all_utterances(omni: Omni, voice: Array) -> None:
    graphs = SpeechGraphs(
        omni.model.graph("dit_step"), omni.model.graph("vocoder"), omni.model.dit_tables
    )
    spoken(graphs, voice, BALANCED, codes_of(200), step=12)
    bound = len(graphs.dit_step), len(graphs.vocoder)
    spoken(graphs, voice, BALANCED, codes_of(200), step=12)
    assert (len(graphs.dit_step), len(graphs.vocoder)) == bound
    assert bound[0] <= 4 and bound[1] <= 4


def test_lengths_of_utterances_leave_no_buffers_behind(omni: Omni, voice: Array) -> None:
    graphs = SpeechGraphs(
        omni.model.graph("dit_step"), omni.model.graph("vocoder"), omni.model.dit_tables
    )
    spoken(graphs, voice, BALANCED, codes_of(120), step=12)
    bound = len(graphs.dit_step), len(graphs.vocoder)
    for count in (1, 13, 25, 40, 55, 70, 95):
        spoken(graphs, voice, BALANCED, codes_of(count), step=12)
    assert (len(graphs.dit_step), len(graphs.vocoder)) == bound
