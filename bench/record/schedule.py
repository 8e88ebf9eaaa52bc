"""When a run is evaluated, which reports must know to say between which steps a task was solved."""


def early_steps(evaluate_every: int) -> list[int]:
    """Return the steps of early evaluations: 1, 2, 3, 5, 8, … (Fibonacci's numbers), below the first regular one."""
    steps, following = [], (1, 2)
    while following[0] < evaluate_every:
        steps.append(following[0])
        following = following[1], sum(following)
    return steps
