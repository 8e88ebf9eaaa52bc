"""How much each setting matters, by Optuna's fANOVA over stored runs, whatever produced them."""

import numpy as np
import pandas as pd

from reports.naming import varying
from reports.selection import scores

MOST = 100  # runs: the time that fANOVA takes grows with their square


def importances(runs: pd.DataFrame) -> dict[str, float]:
    """Return the share of the variance of scores that each varied setting explains (Hutter et al. 2014).

    Args:
        runs: a row per run of one cell on one task, with what `reports.spending` adds. Of more than `MOST` runs that
            many are used, evenly spaced.

    Returns:
        The share by setting, `seed` among them, largest first; empty if nothing but the seed varies.
    """
    import optuna

    runs = runs.iloc[np.linspace(0, len(runs) - 1, min(len(runs), MOST)).astype(int)]
    settings = [c for c in varying(runs, ["task.", "training.", "cell."]) if runs[c].notna().all()]
    if not settings:
        return {}
    distributions: dict[str, optuna.distributions.BaseDistribution] = {}
    columns: dict[str, list[float | str]] = {}
    for name in [*settings, "seed"]:
        values = pd.to_numeric(runs[name], errors="coerce")
        if values.notna().all():  # the seed's too: fANOVA takes minutes over the subsets of two dozen categories
            low, high = float(values.min()), float(values.max())
            distributions[name] = optuna.distributions.FloatDistribution(
                low, high, log=name != "seed" and 0 < 4 * low <= high
            )
            columns[name] = [float(value) for value in values]
        else:
            texts = runs[name].astype("string")
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
