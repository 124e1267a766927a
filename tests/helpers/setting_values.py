"""Values of each setting that are allowed, and values that are not."""

import pywt

from wavesweep.settings.registry import Method, rows

METHODS = tuple(rows(Method))

NAN, INFINITY = float("nan"), float("inf")
NUMBERS = {
    "threshold.percentile": ([0, 0.1, 80, 99.9, 100], [-0.1, 100.1, NAN, INFINITY, -INFINITY]),
    "threshold.energy": ([0, 0.5, 1], [-0.1, 1.01, 95, NAN, INFINITY]),
    "threshold.value": ([0, 0.5, 1e9], [-1e-9, NAN, INFINITY]),
    "model.recipe.learning_rate": ([1e-9, 1, 1e30], [0, -0.1, NAN, INFINITY]),
    "model.recipe.momentum": ([0, 0.5, 0.999], [-0.1, 1, 1.5, NAN]),
    "model.recipe.weight_decay": ([0, 0.5], [-1e-9, NAN, INFINITY]),
    "model.recipe.epochs": ([1, 1000], [0, -1]),
    "model.recipe.batch_size": ([1, 100_000], [0, -5]),
    "dataset.validation_fraction": ([0.01, 0.99], [0, 1, -0.5, 10, NAN]),
    "dataset.image_size": ([1, 224], [0, -1]),
    "dataset.channels": ([1, 3], [0, 2, 4, -1]),
    "seed": ([0, 2**31], [-1]),
    "quantize.bits": ([2, 16], [1, 0, 17, -3]),
    "quantize.other_bits": ([2, 16], [1, 17]),
    "quantize.step": ([None, 1e-9, 5.0], [0.0, -0.1, NAN, INFINITY]),
    "quantize.dead_zone": ([1, 2, 4], [0.9, 4.1, NAN]),
    "quantize.max_drop": ([None, 0.0, 100.0], [-0.1, NAN, INFINITY]),
    "quantize.rate_weight": ([0.0], [-0.1, NAN, INFINITY]),
    "quantize.damping": ([1e-9, 1.0, 100.0], [0, -0.1, NAN, INFINITY]),
    "quantize.images": ([1, 10_000], [0, -1]),
    "retrain.epochs": ([1, 1000], [0, -1]),
    "retrain.learning_rate": ([None, 1e-9, 1.0], [0.0, -0.1, NAN, INFINITY]),
    "retrain.weight_decay": ([None, 0.0, 0.5], [-1e-9, NAN, INFINITY]),
    "retrain.batch_size": ([None, 1, 100_000], [0, -5]),
    "retrain.rounds": ([1, 100], [0, -1]),
    "retrain.distillation": ([0, 0.5, 1], [-0.1, 1.1, NAN]),
    "retrain.ramp": ([0, 0.5, 1], [-0.1, 1.01, NAN, INFINITY]),
    "retrain.rewind_epoch": ([0, 29], [-1]),
    "retrain.quantize_epochs": ([0, 9], [-1]),
    "retrain.rate_weight": ([0, 1.0, 1e3], [-0.1, NAN, INFINITY]),
    "retrain.step": ([1e-9, 100.0], [0, -1.0, NAN, INFINITY]),
    "retrain.group_weight": ([0, 1.0], [-0.1, NAN, INFINITY]),
    "retrain.freeze_epochs": ([0, 9], [-1]),
    "search.n_trials": ([1, 10_000], [0, -1]),
    "dataset.resize": ([None, 32, 256], [31, 0, -1]),
    "search.n_jobs": ([None, 1, 64], [0, -1]),
    "search.seed": ([0, 2**31], [-1, 2**32]),
    "search.early_images": ([None, 1, 500], [0, -1]),
    "search.constraints.max_drop": ([None, 0.0, 5.0], [-0.1, NAN, INFINITY]),
    "search.constraints.max_bytes": ([None, 1, 100_000], [0, -1]),
    "search.constraints.min_sparsity": ([None, 0.0, 100.0], [-0.1, 100.1, NAN]),
    "level": ([1, 3, 100, "max"], [0, -1, "min", "3", 1.5, True, None, [1], NAN]),
}
NAMES = {
    "model.source": (["zoo", "torchvision"], ["Torchvision", "hub", ""]),
    "threshold.rule": (["percentile", "universal", "energy", "absolute"], ["Percentile", "", "top"]),
    "threshold.scope": (["layer", "global"], ["network", ""]),
    "threshold.shrinkage": (["hard", "soft"], ["medium"]),
    "threshold.allocation": (["uniform", "erk", "lamp"], ["ERK", "random", ""]),
    "layout": (["auto", "spatial", "channel", "all", "flat"], ["rows", "AUTO"]),
    "boundary": (pywt.Modes.modes, ["periodisation", "none", ""]),
    "wavelet": (["haar", "bior2.2", "dmey"], ["bior2", "Haar", "morl", ""]),
    "model.recipe.optimizer": (["sgd", "adam"], ["adamw", "SGD"]),
    "model.recipe.schedule": (["constant", "cosine", "multistep"], ["linear"]),
    "model.recipe.precision": (["float32", "bfloat16"], ["float16", ""]),
    "device": (["auto", "cpu", "cuda"], ["gpu", "cuda:0", ""]),
    "on_busy": (["wait", "skip"], ["fail"]),
    "export": (["none", "onnx"], ["tflite", ""]),
    "quantize.name": (["none", "uniform", "kmeans"], ["rdo", ""]),
    "quantize.per": (["layer", "band"], ["tensor"]),
    "quantize.importance": (["none"], ["first_order", ""]),
    "quantize.coefficients": (["float16", "float32"], ["bfloat16"]),
    "quantize.other": (["float16", "float32", "quantized"], ["int8"]),
    "retrain.name": (["none", "finetune", "iterative", "gradual", "rewind", "rate"], ["fine-tune", "Rate", ""]),
    "retrain.optimizer": ([None, "sgd", "adam"], ["adamw", ""]),
    "retrain.schedule": (["constant", "cosine", "multistep"], ["linear", ""]),
    "retrain.precision": ([None, "float32", "bfloat16"], ["float16", ""]),
    "retrain.rewind": (["learning_rate", "weights"], ["both", ""]),
    "codec.name": (["range", "huffman", "none"], ["gzip", ""]),
    "search.name": (["none", "pareto"], ["Pareto", ""]),
    "search.sampler": (["tpe", "gp", "nsga2", "nsga3", "qmc", "random", "grid", "brute_force"], ["TPE", "cmaes", ""]),
    "search.study": ([None, "a", "night-2.b_1"], ["", ".hidden", "a/b", "a b", "../up"]),
    "compare_match": (["coefficients", "bytes"], ["accuracy"]),
}
LISTS = {
    "compare": ([[], ["unit"], list(METHODS)], [["magnitud"], ["haar", "unit"]]),
    "search.objectives": (
        [["accuracy", "sparsity"], ["stored_bytes", "f1"], ["macs", "accuracy"]],
        [[], ["accuracy"], ["accuracy", "accuracy"], ["accuracy", "loss"], ["accuracy", "f1", "macs"]],
    ),
    "layers.types": ([[], ["conv"], ["conv", "linear", "embedding"]], [["lstm"], ["conv", "Linear"]]),
}
TABLE = NUMBERS | NAMES | LISTS
# Checked elsewhere: by what they name, or because every value of their type makes sense.
CHECKED_ELSEWHERE = {
    "model.name",
    "model.weights",
    "model.target",
    "model.arguments",
    "model.checkpoint",
    "model.recipe.augment",
    "dataset.name",
    "dataset.path",
    "dataset.target",
    "dataset.arguments",
    "method.name",
    "threshold.atom_norm",
    "threshold.sensitivity",
    "quantize.atom_norm",
    "retrain.augment",
    "retrain.regrow",
    "layers.include",
    "layers.exclude",
    "layers.overrides",
    "shrink",
    "paths.outputs",
    "paths.data",
    "progress",
    "retry_failed",
    "search.storage",
    "search.warm_start",
}
# Errors that are more exact than the general text.
SPECIFIC = {
    "boundary": f"must be one of {', '.join(pywt.Modes.modes)}",
    "model.recipe.schedule": "must be one of constant, cosine, multistep",
}
GOOD = [(key, value) for key, (good, _) in TABLE.items() for value in good]
BAD = [(key, value) for key, (_, bad) in TABLE.items() for value in bad]
