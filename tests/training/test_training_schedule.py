"""Recipe lines that change the objective or the sampling, through the real command: logs, resuming, bad input."""

import json
import shutil

import pytest

pytest.importorskip("trl")
import advshape as adv
from advshape.cli import main
from advshape.evaluation.logs.jsonl import read_jsonl
from advshape.report.charts.training import training_charts
from advshape.training.rundir.directory import RunDirectory

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = [
    "trainer.max_steps=2",
    "trainer.per_device_train_batch_size=32",
    "trainer.gradient_accumulation_steps=2",
    "trainer.num_generations=8",
    "evaluation.before=false",
    "evaluation.after=false",
]


def words(out, *settings, recipe="countdown"):
    found = ["train", str(recipe), "--out", str(out), "--quiet"]
    for setting in (*SMALL, *settings):
        found += ["--set", setting]
    return found


def ran(path, *settings, recipe="countdown"):
    assert main(words(path, *settings, recipe=recipe)) == 0
    return RunDirectory(path)


def logged(run, name):
    return [line.get(f"advshape/{name}") for line in read_jsonl(run.metrics)]


ANNEAL = "objective={estimator='pass_at_k', k=3, schedule={k={to=1, shape='linear', steps=[1, 3]}}}"
MIXED = "objective={surrogate='w*(1-(1-rho)**4)+(1-w)*rho', w=1.0, schedule={w={to=0.0, shape='cosine', steps=[1, 3]}}}"
STAGES = (
    "objective={stages=[{estimator='pass_at_k', k=4, until='pass_at_1 >= 0', over=1}, "
    "{estimator='grpo', scale='none'}]}"
)
HARD = "objective={estimator='grpo', hard={below=0.4, estimator='pass_at_k', k=4}}"


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        (ANNEAL, {"objective": [1, 1], "objective_k": [3, 2]}),
        (MIXED, {"objective_w": [1.0, 0.5]}),
        (STAGES, {"objective": [1, 2], "objective_k": [4, None]}),
    ],
    ids=["anneal", "mixture", "stages"],
)
def test_the_objective_in_force_is_logged(tmp_path, setting, expected):
    run = ran(tmp_path / "run", setting)
    for name, values in expected.items():
        assert logged(run, name) == values
    charts = [chart["title"] for chart in training_charts(list(read_jsonl(run.metrics)))]
    assert "Objective in force" in charts
    assert "Objective in force" in run.report.read_text()


def test_hard_problems_get_their_rule_by_the_visit_before(tmp_path):
    """Rate before step 2: (1/2 + right) / (3/2 + 8); unseen 1/3. One factor for each rule, the scale to unit rms."""
    run = ran(tmp_path / "run", HARD)
    groups = rewards_of(run)
    grpo, passk = adv.estimator("grpo").scaled("rms").table(8), adv.estimator("pass_at_k(k=4)").scaled("rms").table(8)
    used = []
    for (step, problem), group in groups.items():
        before = groups.get((1, problem), []) if step == 2 else []
        rate = (0.5 + sum(r for r, _ in before)) / (1.5 + len(before))
        used.append(rate < 0.4)
        table, c = (passk if used[-1] else grpo), int(sum(r for r, _ in group))
        for reward, advantage in group:
            assert advantage == pytest.approx((table.positive if reward else table.negative)[c], abs=1e-6)
    assert set(used) == {True, False}
    assert logged(run, "prompts_hard") == [sum(used[:8]) / 8, sum(used[8:]) / 8]
    assert logged(run, "objective_hard_k") == [4, 4]
    assert "Objective in force" not in run.report.read_text(), "nothing moves"


@pytest.mark.parametrize(
    "setting",
    [
        "objective.history=true",
        "objective.history={discount=0.8, prior=[1, 2]}",
        "sampling.prioritized=true",
        "sampling.prioritized={floor=0.1, within=5}",
        "sampling.weight=true",
        "sampling.weight={floor=0.2}",
    ],
)
def test_each_line_switches_one_thing_on(tmp_path, setting):
    rule = "objective.estimator=rloo_k"
    run = ran(tmp_path / "run", rule, setting, "task.train_problems=16", "trainer.max_steps=3")
    assert logged(run, "prompts_seen_before")[0] == 0
    assert logged(run, "prompts_seen_before")[2] > 0, "16 problems, 8 in a generation"
    assert logged(run, "objective") == [None] * 3, "nothing changes"


def test_the_shipped_recipe_anneals(tmp_path):
    run = ran(tmp_path / "run", "trainer.num_generations=16", recipe="countdown-anneal")
    assert logged(run, "objective_k") == [8, 8]
    assert "k 8 to 1, linear over steps 30 to 120" in run.summary()["objective"]


def rewards_of(run):
    groups = {}
    for line in read_jsonl(run.rollouts):
        groups.setdefault((line["step"], line["problem"]), []).append((line["reward"], line["advantage"]))
    return groups


def test_weights_multiply_the_advantages_by_earlier_visits_alone(tmp_path):
    """Step 1: an unseen problem under Beta(1, 3) has rate 1/4: weight 3/4 + 5/4 = 2."""
    rest = "objective.estimator=rloo_k", "task.train_problems=8", "trainer.max_steps=1"
    rest = ("objective.history={baseline=false, prior=[1, 3]}", *rest)
    plain, heavy = ran(tmp_path / "plain", *rest), ran(tmp_path / "heavy", *rest, "sampling.weight={floor=1.25}")
    one, two = rewards_of(plain), rewards_of(heavy)
    assert any(advantage for group in one.values() for _, advantage in group)
    for key, group in one.items():
        for (reward, advantage), (same, heavier) in zip(group, two[key], strict=True):
            assert reward == same
            assert heavier == pytest.approx(2 * advantage, rel=1e-6)


LONG = [
    "task.train_problems=20",
    "trainer.max_steps=9",
    "trainer.num_generations=16",
    "trainer.save_steps=1",
    "trainer.save_total_limit=20",
    "trainer.gradient_accumulation_steps=1",
    "trainer.steps_per_generation=2",
    "trainer.per_device_train_batch_size=32",
    "sampling.prioritized=true",
    "objective.history={discount=0.7}",
    "objective.stages=[{estimator='pass_at_k', k=4, until='pass_at_1 >= 0', over=2, schedule="
    "{k={to=1, shape='linear', steps=[1, 4]}}, hard={below=0.3, estimator='pass_at_k', k=8}}, {estimator='grpo'}]",
]
WALL_TIMES = {"seconds", "step_time", "advshape/seconds_saved"}


def result(run):
    metrics = [{k: v for k, v in line.items() if k not in WALL_TIMES} for line in read_jsonl(run.metrics)]
    return metrics, run.rollouts.read_bytes(), (run.model / "model.safetensors").read_bytes()


def staged(path):
    recipe = path / "staged.toml"
    recipe.write_text(
        '[model]\npath = "countdown"\n[task]\nname = "countdown"\n[objective]\nscale = "rms"\n[trainer]\n'
        "max_completion_length = 16\nactivation_checkpointing = false\ngradient_checkpointing = false\n"
    )
    return recipe


def test_resumed_inside_everything_at_once_has_the_same_bits(tmp_path):
    """Recovery: annealing, an end reached, hard prompts, a history and drawn prompts; from each checkpoint of the run.

    20 problems, 4 of them in a generation of two steps: five generations an epoch, so that 9 steps end inside it.
    """
    recipe = staged(tmp_path)
    whole = ran(tmp_path / "whole", *LONG, recipe=recipe)
    stages = logged(whole, "objective")
    assert stages[::2] == [1, 1, 2, 2, 2], "measured over two generations, which are steps 1 to 4"
    assert logged(whole, "objective_k")[:4:2] == [4, 2]
    assert 0 < logged(whole, "prompts_hard")[2] < 1
    expected = result(whole)
    resumes_alike(whole, expected, (2, 4, 6), tmp_path)


def test_draws_made_before_their_rewards_are_taken_from_the_checkpoint(tmp_path):
    """One generation a step: the next one's problems are drawn before this one is judged; anew they would differ."""
    whole = ran(tmp_path / "whole", *LONG, "trainer.gradient_accumulation_steps=2", recipe=staged(tmp_path))
    assert logged(whole, "objective") == [1] * 2 + [2] * 7
    resumes_alike(whole, result(whole), (2, 5, 7), tmp_path)


def resumes_alike(whole, expected, steps, tmp_path):
    for step in steps:
        copy = RunDirectory(shutil.copytree(whole.path, tmp_path / f"from-{step}"))
        for folder in copy.checkpoints.glob("checkpoint-*"):
            if int(folder.name.rpartition("-")[2]) > step:
                shutil.rmtree(folder)
        copy.update_summary(status="interrupted", training={"sittings": 1})
        assert copy.last_checkpoint()[1] == step
        assert main(["train", "--resume", str(copy.path), "--quiet"]) == 0
        assert result(copy) == expected


def test_resume_needs_the_state(tmp_path, capsys):
    """Meta-test: without what the checkpoint holds, the run would be another one; it is refused, not made up."""
    run = ran(tmp_path / "run", *LONG, "trainer.max_steps=4", recipe=staged(tmp_path))
    folder = run.checkpoints / "checkpoint-2"
    held = {path.name for path in folder.glob("*.json")}
    assert {"objective_schedule.json", "prompt_sampler.json", "prompt_history.json"} <= held
    assert json.loads((folder / "prompt_sampler.json").read_text())["number"] == 1, "one generation ahead"
    (folder / "prompt_sampler.json").unlink()
    shutil.rmtree(run.checkpoints / "checkpoint-4")
    run.update_summary(status="interrupted", training={"sittings": 1})
    assert main(["train", "--resume", str(run.path), "--quiet"]) == 2
    assert "checkpoint-2 is damaged: prompt_sampler.json is missing" in capsys.readouterr().err


def dry_run(capsys, *settings, recipe="countdown"):
    words = ["train", str(recipe), "--dry-run"]
    for setting in settings:
        words += ["--set", setting]
    code = main(words)
    said = capsys.readouterr()
    return code, said.out, said.err


def test_dry_run_prints_the_schedule(capsys):
    code, out, _ = dry_run(capsys, recipe="countdown-anneal")
    assert code == 0
    assert "pass_at_k(k=8) at unit rms; k 8 to 1, linear over steps 30 to 120" in out
    assert "k = 8, 7 from 37, 6 from" in out
    assert "warning" not in out
    _, out, _ = dry_run(capsys, "trainer.max_steps=50", recipe="countdown-anneal")
    assert "the schedule goes on to step 120, the run has 50" in out
    _, out, _ = dry_run(capsys, STAGES, "sampling.prioritized=true", "objective.history=true")
    assert "stage 1: pass_at_k(k=4) at unit rms | until pass_at_1 >= 0" in out
    assert "stage 2: grpo" in out
    assert "every problem within" in out
    assert "within = " in out.partition("[sampling.prioritized]")[2], "the resolved recipe says what was chosen"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            ["objective.schedule.k={to=32, shape='linear', steps=[1, 9]}"],
            ["[objective] step 4: pass_at_k(k=17)", "18", "num_generations=16"],
        ),
        (["objective.schedule.k={to=1, shape='lineer', steps=[1, 9]}"], ["'lineer'", "'linear'"]),
        (["objective.hard={below=0.5, estimator='pass_at_k', k=40}"], ["hard prompts", "41"]),
        (
            ["objective={stages=[{estimator='grpo', until='pass_at_2 > 1'}, {estimator='rloo'}]}"],
            ["'pass_at_2'", "'pass_at_1'"],
        ),
        (["objective={trainer='stock'}", "sampling.prioritized=true"], ["[sampling] prioritized", "TRL's own"]),
        (["objective.real=layer_cake", "objective.history=true"], ["real rewards have none"]),
        (["sampling.prioritised=true"], ["'prioritised'", "'prioritized'"]),
        (["sampling.prioritized={floor=-1}"], ["floor must be"]),
        (["sampling.prioritized={within=2}"], ["within = ", "or more"]),
        (["sampling.prioritized={within='soon'}"], ["'soon'"]),
        (["sampling.prioritized={fence=2}"], ["'fence'"]),
        (["sampling.prioritized=3"], ["true, false or a table"]),
        (["sampling.prioritized=true", "sampling.weight=true"], ["weigh twice"]),
        (["sampling.prioritized=true", "task.train_problems=8"], ["train_problems = 32"]),
        (["sampling.prioritized=true", "trainer.dataloader_num_workers=2"], ["dataloader_num_workers=2"]),
        (["objective.history={discout=0.9}"], ["'discout'", "'discount'"]),
        (["objective.history={discount=2}"], ["[0, 1]"]),
        (["objective.history={prior=3}"], ["prior must be two numbers"]),
        (["objective.history={prior=[-1, 2]}"], ["history"]),
    ],
)
def test_wrong_lines(capsys, settings, words):
    code, out, err = dry_run(capsys, *settings)
    assert (code, out) == (2, "")
    for word in words:
        assert word in err
