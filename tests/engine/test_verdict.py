"""The verdict against a simulated pipeline: it names what binds, and what it predicts is what the repaired one does."""

import json
from dataclasses import replace

import pytest

from engine.profiling import bottleneck as module
from engine.profiling.bottleneck import verdict_of
from engine.profiling.ceilings import cores_left, load_of
from engine.profiling.cores import Cores
from engine.profiling.thread_usage import StageUsage, ThreadsUsage, Usage
from tests.engine.pipeline_sim import simulate

# Seconds slept and computed a frame, as they are on a plain machine; a case makes one of them slow.
USUAL = {
    "open": (0.0, 0.01),
    "decode": (0.0, 0.002),
    "preprocess": (0.0, 0.0005),
    "infer": (0.0, 0.008),
    "postprocess": (0.0, 0.0003),
    "track": (0.0, 0.0002),
    "sink video": (0.0, 0.003),
    "finish": (0.02, 0.01),
}
ONE = {"videos": (150,), "streams": 1}
TWO = {"videos": (100, 100), "streams": 2, "workers": 2}
HOSTED = {**ONE, "workers": 2, "hosted": True}
FOUR = {"videos": (60, 80, 50, 70, 60, 60), "streams": 4, "workers": 4, "cores": 4}

# Case -> what is slow and how, the run, and what is to bind it: threads, or the cores, and a stage.
CASES = {
    "decode sleeps": ("decode", (0.030, 0.0), ONE, "decode"),
    "decode computes": ("decode", (0.0, 0.030), ONE, "decode"),
    "infer sleeps": ("infer", (0.040, 0.0), ONE, "infer"),
    "infer computes, one worker": ("infer", (0.0, 0.040), ONE, "infer"),
    "infer sleeps, two workers": ("infer", (0.080, 0.0), TWO, "infer"),
    "infer computes on all cores": ("infer", (0.0, 0.040), TWO, "cores"),
    "a sink sleeps": ("sink video", (0.050, 0.0), ONE, "sink video"),
    "a sink sleeps, two streams": ("sink video", (0.050, 0.0), TWO, "sink video"),
    "a sink computes": ("sink video", (0.0, 0.050), ONE, "sink video"),
    "sinks compute on all cores": ("sink video", (0.0, 0.030), TWO, "cores"),
    "decode sleeps, four streams": ("decode", (0.080, 0.0), FOUR, "decode"),
    "infer computes, four streams": ("infer", (0.0, 0.030), FOUR, "cores"),
    "a sink sleeps, four streams": ("sink video", (0.070, 0.0), FOUR, "sink video"),
    "track computes": ("track", (0.0, 0.025), ONE, "track"),
    "track computes, on workers": ("track", (0.0, 0.060), HOSTED, "track"),
    "a sink sleeps, on workers": ("sink video", (0.080, 0.0), {**HOSTED, "workers": 4}, "sink video"),
    "infer computes, all on workers": ("infer", (0.0, 0.040), {**TWO, "hosted": True}, "cores"),
    "infer sleeps, all on workers": ("infer", (0.080, 0.0), HOSTED, "infer"),
    "opening is slow": ("open", (0.4, 0.0), {"videos": (5,) * 12, "streams": 1}, "open"),
    "finishing is slow": ("finish", (0.5, 0.0), {"videos": (20,) * 6, "streams": 1}, "finish"),
}


@pytest.mark.parametrize("case", CASES)
def test_it_names_what_binds(case):
    stage, slow, run, binding = CASES[case]
    verdict = verdict_of(simulate({**USUAL, stage: slow}, **run))
    assert (verdict.binding, verdict.stage) == (binding, stage)
    assert verdict.next.of == stage
    assert 0.85 < verdict.explained <= 1


@pytest.mark.parametrize("left", [0.0, 0.2, 0.5])
@pytest.mark.parametrize("case", CASES)
def test_what_it_predicts_is_what_comes(case, left):
    stage, slow, run, _ = CASES[case]
    predicted = verdict_of(simulate({**USUAL, stage: slow}, **run)).predict(stage, left)
    repaired = simulate({**USUAL, stage: (left * slow[0], left * slow[1])}, **run)
    assert predicted == pytest.approx(repaired.frames / repaired.elapsed_s, rel=0.1)


def test_cores_are_named_only_where_they_bind():
    """A machine with more cores is not faster where a stage sleeps, and is where they all compute."""
    sleeping = verdict_of(simulate({**USUAL, "infer": (0.08, 0.0)}, **TWO))
    computing = verdict_of(simulate({**USUAL, "infer": (0.0, 0.04)}, **TWO))
    after = simulate({**USUAL, "infer": (0.0, 0.04)}, **{**TWO, "cores": 4, "workers": 4})
    doubled = {change.of: change.fps for change in computing.changes if change.change == "doubled"}
    assert not [change for change in sleeping.changes if change.of == "cores"]
    assert doubled["cores"] == pytest.approx(after.frames / after.elapsed_s, rel=0.1)


@pytest.mark.parametrize(("of", "more"), [("worker", {"workers": 2}), ("streams", {"streams": 2})])
def test_twice_the_threads(of, more):
    """More of them help where what they do sleeps."""
    stage = {"worker": "infer", "streams": "decode"}[of]
    run = {"videos": (60,) * 4, "streams": 1, "cores": 4}
    costs = {**USUAL, stage: (0.04, 0.0)}
    told = {change.of: change for change in verdict_of(simulate(costs, **run)).changes if change.change == "doubled"}
    after = simulate(costs, **{**run, **more})
    assert told[of].fps == pytest.approx(after.frames / after.elapsed_s, rel=0.1)
    assert list(told) == [of]


def test_more_workers_are_no_more_cards():
    usage = simulate({**USUAL, "infer": (0.04, 0.0)}, **ONE)
    assert [change.of for change in verdict_of(usage).changes if change.change == "doubled"] == ["worker"]
    assert not [change for change in verdict_of(usage, on_card=True).changes if change.change == "doubled"]


def test_changes_are_sorted_and_each_gives_something():
    verdict = verdict_of(simulate(USUAL, **TWO))
    gains = [change.fps for change in verdict.changes]
    assert gains == sorted(gains, reverse=True)
    assert min(gains) > verdict.fps
    assert verdict.next == next(change for change in verdict.changes if change.change == "without")


def test_no_ceiling_is_below_what_was_done():
    """Threads that were measured a little longer than the run itself."""
    worker = ThreadsUsage("worker", 1, 0.0, 0.0, 0.0, (StageUsage("infer", 100, 1.1, 1.1, 0.0),))
    verdict = verdict_of(used(cpu_s=2.2, threads=(worker, used().threads[1])))
    assert verdict.fps == 100
    assert verdict.ceiling_fps == 100
    assert [limit.fps >= 100 for limit in verdict.limits] == [True] * len(verdict.limits)
    assert (verdict.binding, verdict.explained) == ("infer", 1)
    assert min(change.fps for change in verdict.changes) > 100


def used(**changed):
    """A run of 100 frames in 1 s; one worker that slept 0.9 s of it."""
    stages = (StageUsage("infer", 100, 0.95, 0.05, 0.0),)
    threads = (
        ThreadsUsage("worker", 1, 0.05, 0.0, 0.0, stages),
        ThreadsUsage("sink", 1, 0.9, 0.0, 0.0, (StageUsage("track", 100, 0.1, 0.1, 0.0),)),
    )
    return Usage(1.0, 1, 0.2, Cores(2, 2.0), 0.0, threads)._replace(**changed)


@pytest.mark.parametrize(
    ("changed", "left"),
    [
        ({}, 2.0),
        ({"cores": Cores(4, 1.5)}, 1.5),  # a quota
        ({"others": 2.0}, 1.0),  # it wanted little; wanting more, it would get its share beside the others
        ({"others": 1.0}, 4 / 3),
        ({"others": 0.04}, 2.0),  # a tick
        ({"others": 9.0, "cores": Cores(64, 2.0)}, 2.0),
    ],
)
def test_cores_left(changed, left):
    assert cores_left(used(**changed)) == pytest.approx(left)


@pytest.mark.parametrize(
    ("cpu_s", "queued_s", "others", "left"),
    [
        (1.0, 1.0, 1.0, 1.0),  # it wanted all there was: what it had
        (0.5, 2.5, 1.5, 0.5),
        (0.5, 0.5, 1.5, 0.8),  # one thread had half a core, so they have three; two of ours would have 2/5 of two
        (2.0, 2.0, 0.0, 2.0),  # its own threads
    ],
)
def test_cores_left_where_threads_wait(cpu_s, queued_s, others, left):
    worker = ThreadsUsage("worker", 4, 0.0, 0.0, 0.0, (StageUsage("infer", 100, 4.0, cpu_s, queued_s),))
    assert cores_left(used(cpu_s=cpu_s, others=others, threads=(worker,))) == pytest.approx(left)


def test_what_others_delay_stays():
    worker = ThreadsUsage("worker", 1, 0.0, 0.0, 0.0, (StageUsage("infer", 100, 1.0, 0.5, 0.5),))
    run = used(cpu_s=0.5, threads=(worker, used().threads[1]))
    assert 100 * load_of(run).costs[0].own_s == pytest.approx(0.5)
    assert 100 * load_of(run._replace(others=1.5)).costs[0].own_s == pytest.approx(0.5 + 0.75 * 0.5)


@pytest.mark.parametrize(("cpu_s", "own_s"), [(0.2, 0.95), (2.0, 0.05), (1.8, 0.5)])
def test_where_waiting_for_cores_is_not_known(cpu_s, own_s):
    """It is guessed: all that was not computed, where the cores are full; none of it, where they are not."""
    load = load_of(used(cpu_s=cpu_s, queues_known=False))
    assert 100 * load.costs[0].own_s == pytest.approx(own_s)


def test_a_live_source_is_not_to_be_repaired():
    costs = {**USUAL, "decode": (0.1, 0.0)}
    usage = simulate(costs, **ONE)
    live = [
        replace(t, stages=tuple(s._replace(stage="source" if s.stage == "decode" else s.stage) for s in t.stages))
        for t in usage.threads
    ]
    verdict = verdict_of(usage._replace(threads=tuple(live)))
    assert verdict.binding == "source"
    assert verdict.next is None


def test_none_without_a_frame():
    assert verdict_of(used(threads=())) is None
    assert verdict_of(used(elapsed_s=0.0)) is None


def test_to_json():
    verdict = verdict_of(used())
    told = json.loads(json.dumps(verdict.to_json()))
    assert list(told) == [
        "fps", "frames", "elapsed_s", "binding", "stage", "ceiling_fps", "explained", "next", "changes", "limits",
        "threads", "cores",
    ]  # fmt: skip
    assert (told["fps"], told["frames"], told["elapsed_s"]) == (100, 100, 1.0)
    assert (told["binding"], told["stage"], told["ceiling_fps"]) == ("infer", "infer", pytest.approx(104.2, abs=1.1))
    assert told["cores"] == {"count": 2.0, "used": 0.2, "others": 0.0, "left": 2.0}
    worker, sink = told["threads"]
    assert worker == {
        "of": "worker", "count": 1, "busy": 0.95, "waits_input": 0.05, "waits_room": 0.0, "waits_end": 0.0,
        "stages": [
            {"stage": "infer", "frames": 100, "wall_ms": 9.5, "cpu_ms": 0.5, "queued_ms": 0.0, "busy": 0.95}
        ],
    }  # fmt: skip
    assert sink["stages"][0]["stage"] == "track"
    # All keys are explained where the module says what they are.
    for key in (*told, *worker, *worker["stages"][0], *told["cores"], *told["changes"][0]):
        assert f"`{key}`" in module.__doc__ or f"    {key} " in module.__doc__, key
