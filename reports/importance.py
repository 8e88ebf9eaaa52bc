"""How much each setting matters, by Optuna's fANOVA over stored runs, whatever produced them."""

import numpy as np
import pandas as pd

from reports.naming import varying
from reports.selection import scores

FEW_VALUES = 8
MOST = 100  # runs: the time that fANOVA takes grows with their square


def importances(runs: pd.DataFrame) -> dict[str, float]:
    """Return the share of the variance of scores that each varied setting explains (Hutter et al. 2014).

    Args:
        runs: a row per run of one cell on one task, with what `reports.spending` adds. Of more than `MOST` runs that
            many are used, evenly spaced.

    Returns:
        The share by setting, `seed` among them, largest first; empty if nothing but the seed varies. Settings that
        always change together are one, named by all of them, such as "cell.layers and hidden_size".
    """
    import optuna

    runs = runs.iloc[np.linspace(0, len(runs) - 1, min(len(runs), MOST)).astype(int)]
    together = _together(runs, [c for c in varying(runs, ["task.", "cell.", "training."]) if runs[c].notna().all()])
    if not together:
        return {}
    distributions: dict[str, optuna.distributions.BaseDistribution] = {}
    columns: dict[str, list[float | str]] = {}
    for name, column in {**together, "seed": "seed"}.items():
        values = pd.to_numeric(runs[column], errors="coerce")
        if values.notna().all():  # the seed's too: fANOVA takes minutes over the subsets of two dozen categories
            low, high = float(values.min()), float(values.max())
            distributions[name] = optuna.distributions.FloatDistribution(
                low, high, log=name != "seed" and 0 < 4 * low <= high
            )
            columns[name] = [float(value) for value in values]
        else:
            texts = runs[column].astype("string")
            distributions[name] = optuna.distributions.CategoricalDistribution(sorted(texts.unique()))
            columns[name] = list(texts)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    for number, score in enumerate(scores(runs)):
        params = {name: values[number] for name, values in columns.items()}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=score))
    if len({trial.value for trial in study.trials}) < 2:
        return {}
    return optuna.importance.get_param_importances(study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0))


def _together(runs: pd.DataFrame, settings: list[str]) -> dict[str, str]:
    """Return the first of those settings that always change together, by the name of all of them. Of many values, as a
    search draws them, none come together by design."""
    groups: list[list[str]] = []
    for setting in sorted(settings, key=lambda name: name.startswith("training.")):
        for group in groups:
            values = {len(runs[columns].drop_duplicates()) for columns in ([group[0]], [setting], [group[0], setting])}
            if len(values) == 1 and max(values) <= FEW_VALUES:
                group.append(setting)
                break
        else:
            groups.append([setting])
    return {" and ".join([first, *(name.rpartition(".")[2] for name in others)]): first for first, *others in groups}
