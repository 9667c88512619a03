"""Draw docs/theory.png: python -m tests.theory.curves"""

from collections.abc import Callable
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from torch import nn

from posttrain.figures.style import MUTED, SERIES, chart_style
from tests.theory.failures import A_B, TWO_WORDS, by_ppo, displaced, unbounded, word_policy
from tests.theory.failures import BETA as PAIR_BETA
from tests.theory.methods import ACTOR_CRITIC, BETA, GRPO, REINFORCE, Method, TableParts, learn
from tests.theory.pairs import all_pairs, bradley_terry, dpo
from tests.theory.tabular import Problem, random_problem

PATH = Path(__file__).parents[2] / "docs" / "theory.png"
Points = list[tuple[int, float]]


def of_dpo(problem: Problem, watch: Callable[[nn.Module], float], num_steps: int) -> Points:
    """Gradient steps on all pairs at once, with the online methods' learning rate and schedule."""
    algorithm, batch = dpo(TableParts(problem).policy(), beta=BETA), all_pairs(problem, bradley_terry(problem.rewards))
    optimizer = torch.optim.Adam(algorithm.module.parameters(), lr=0.1)
    seen = [(0, watch(algorithm.module))]
    for step in range(num_steps):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / num_steps)
        optimizer.zero_grad()
        algorithm.loss(batch).loss_sum.backward()
        optimizer.step()
        if (step + 1) % 10 == 0:
            seen.append((step + 1, watch(algorithm.module)))
    return seen


def draw_distances(axes: Axes, title: str, curves: dict[str, Points]) -> None:
    for (tone, mark), (label, points) in zip(SERIES, curves.items(), strict=False):
        steps, values = zip(*points, strict=True)
        axes.plot(steps, values, color=tone.light, marker=mark, markevery=max(1, len(points) // 8), label=label)
    axes.set_title(title)
    axes.set_yscale("log")
    axes.set_ylim(bottom=max(axes.get_ylim()[0], 1e-7))
    axes.yaxis.set_major_formatter(lambda value, place: f"{value:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("optimiser step")
    axes.set_ylabel("total variation to π*")
    axes.legend(ncols=2, loc="best" if min(values) > 1e-3 else "lower left")


def draw_failure(axes: Axes, title: str, unit: str, level: float, curves: dict[str, list[float]]) -> None:
    for (tone, mark), (label, values) in zip(SERIES, curves.items(), strict=False):
        axes.plot(values, color=tone.light, marker=mark, markevery=max(1, len(values) // 8), label=label)
    axes.axhline(level, color=MUTED.light, linestyle=(0, (4, 3)), linewidth=1.1)
    axes.set_title(title)
    axes.set_xlabel("step")
    axes.set_ylabel(unit)
    axes.legend()


def draw_failures(above: Axes, below: Axes) -> None:
    held, weak = {"displacement_weight": 5 * PAIR_BETA}, {"displacement_weight": 0.5 * PAIR_BETA}
    kinds = {"DPO": {}, "DPOP, λ = β/2": weak, "DPOP, λ = 5β": held}
    curves = {name: [each["chosen_log_ratio"] for each in displaced(**kind)] for name, kind in kinds.items()}
    curves["PPO, its end"] = [float(by_ppo(word_policy(), TWO_WORDS, A_B)[2][A_B])] * 300
    draw_failure(above, "Failure (a): the better response falls", "log π/π_ref of y⁺, nats", 0.0, curves)
    kinds = {"DPO": {}, "DPOP, λ = 5β": held, "IPO": {"objective": "ipo"}, "cDPO, ε = 0.1": {"label_smoothing": 0.1}}
    curves = {name: [each["margin"] for each in unbounded(**kind)] for name, kind in kinds.items()}
    draw_failure(below, "Failure (b): the margin has no bound", "β × margin; dashed: PPO's end", 1.0, curves)


def main() -> None:
    torch.set_default_dtype(torch.float64)
    problem = random_problem(0)
    target = problem.optimum(BETA)

    def seen(methods: dict[str, Method]) -> dict[str, Points]:
        return {name: learn(each, problem, 0, watch)[1] for name, each in methods.items()}

    def watch(policy: nn.Module) -> float:
        return problem.distance(policy, target)

    reinforce = {name.removeprefix("REINFORCE, "): points for name, points in seen(REINFORCE).items()}
    others = seen(ACTOR_CRITIC | {"GRPO, unscaled": GRPO["GRPO, unscaled"]})
    others["DPO, all pairs"] = of_dpo(problem, watch, 320)
    with chart_style():
        figure = Figure(figsize=(10, 7), dpi=160, layout="constrained", facecolor="white")
        grid = figure.subplots(2, 2)
        draw_distances(grid[0, 0], "REINFORCE, by baseline", reinforce)
        draw_distances(grid[0, 1], "Actor-critics, GRPO and DPO", others)
        draw_failures(grid[1, 0], grid[1, 1])
        figure.savefig(PATH)


if __name__ == "__main__":
    main()
