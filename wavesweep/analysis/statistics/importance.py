"""Which settings matter for a measure: functional analysis of variance over the trials in the table."""

import pandas as pd

from wavesweep.analysis.table.columns import SETTINGS

_NUMERIC = {column.name for column in SETTINGS if column.kind in ("integer", "number")}
# Beyond these the shares change in the third digit, and the time grows from seconds to minutes.
_MOST_ROWS, _TREES, _DEPTH = 1000, 32, 7


def setting_importance(rows: pd.DataFrame, objective: str = "validation_accuracy", seed: int = 0) -> pd.Series:
    """Share of the variance of `objective` that each setting explains, over the main arms.

    Optuna's fANOVA (Hutter, Hoos and Leyton-Brown, ICML 2014) over a study made of the rows. It explains only these
    trials: a setting that hardly varied among them looks unimportant. Settings that vary in step with each other cannot
    be separated; the first of them stands for all.

    Args:
        rows: of the table of trials; above 1,000, as many are drawn by `seed`.
        objective: the column to explain.
        seed: of the random forest; equal rows and seeds give equal shares.

    Returns:
        A share per setting that varies, the largest first; they sum to 1, or are all 0 where the objective does not
        vary. Empty where no setting varies.
    """
    rows = rows[rows["is_main"] & rows[objective].notna()]
    if len(rows) > _MOST_ROWS:
        rows = rows.sample(_MOST_ROWS, random_state=seed)
    names = _varying(rows)
    shares = pd.Series(0.0, index=pd.Index(names, name="setting"), name=objective)
    if not names or rows[objective].nunique() < 2:
        return shares
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study()
    finally:
        optuna.logging.set_verbosity(verbosity)
    distributions: dict[str, optuna.distributions.BaseDistribution] = {}
    values = pd.DataFrame(index=rows.index)
    for name in names:
        if name in _NUMERIC and rows[name].notna().all():
            values[name] = rows[name].astype(float)
            low, high = float(values[name].min()), float(values[name].max())
            distributions[name] = optuna.distributions.FloatDistribution(low, high)
        else:
            values[name] = rows[name].astype(object).where(rows[name].notna(), "null").map(str)
            choices = sorted(values[name].unique())
            distributions[name] = optuna.distributions.CategoricalDistribution(choices)
    study.add_trials(
        [
            optuna.trial.create_trial(params=params, distributions=distributions, value=float(value))
            for params, value in zip(values.to_dict("records"), rows[objective], strict=True)
        ]
    )
    found = optuna.importance.get_param_importances(
        study, evaluator=optuna.importance.FanovaImportanceEvaluator(n_trees=_TREES, max_depth=_DEPTH, seed=seed)
    )
    for name, share in found.items():
        shares[name] = share
    return shares.sort_values(ascending=False, kind="stable")


def _varying(rows: pd.DataFrame) -> list[str]:
    """Settings with more than one value; of those in step with each other only the first."""
    partitions = set()
    names = []
    for column in SETTINGS:
        if column.name not in rows.columns or rows[column.name].nunique(dropna=False) < 2:
            continue
        codes = tuple(pd.factorize(rows[column.name], use_na_sentinel=False)[0])
        if codes not in partitions:
            partitions.add(codes)
            names.append(column.name)
    return names
