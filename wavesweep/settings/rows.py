"""The rows that come with wavesweep, in the order in which they are shown. `registry` says what each field means."""

from wavesweep.settings.registry import (
    Allocation,
    Basis,
    Codec,
    DataSet,
    LayerType,
    Layout,
    Method,
    Model,
    Normalization,
    Objective,
    Preset,
    Quantizer,
    Retraining,
    Row,
    Sampler,
    Score,
    Task,
    Threshold,
)

_BASES = (
    Basis("identity", "the weights themselves", "wavesweep.transform.basis:identity_basis"),
    Basis(
        "wavelet",
        "multilevel discrete wavelet transform of the axes that the layout names",
        "wavesweep.transform.wavelet:wavelet_basis",
        uses=("wavelet", "level", "boundary", "layout"),
        stores=("axes", "wavelet", "levels", "mode"),
        has_levels=True,
    ),
    Basis(
        "dct",
        "orthonormal DCT-II over whole axes",
        "wavesweep.transform.dct:dct_basis",
        uses=("layout",),
        stores=("axes",),
    ),
    Basis(
        "rotation",
        "random orthogonal matrix along each axis, in blocks of at most 1,024",
        "wavesweep.transform.rotation:rotation_basis",
        uses=("layout",),
        stores=("axes", "seed"),
        is_seeded=True,
    ),
    Basis(
        "shuffled",
        "the wavelet transform after a fixed random permutation of each axis",
        "wavesweep.transform.shuffle:shuffled_basis",
        uses=("wavelet", "level", "boundary", "layout"),
        stores=("axes", "wavelet", "levels", "mode", "seed", "name"),
        has_levels=True,
        is_seeded=True,
    ),
)
_SCORES = (
    Score("magnitude", "absolute value", "wavesweep.pruning.scores:magnitude_scores", is_magnitude=True),
    Score("random", "random numbers", "wavesweep.pruning.scores:random_scores", is_seeded=True),
    Score("unit", "L2 norm of the whole unit", "wavesweep.pruning.scores:unit_scores", is_of_units=True),
)
_METHODS = (
    Method("wavelet", "wavelet coefficients by magnitude", basis="wavelet"),
    Method("magnitude", "weights by magnitude"),
    Method("random", "weights at random", score="random"),
    Method("unit", "whole units (filters, rows) by their norm", score="unit"),
    Method("dct", "coefficients of a DCT by magnitude", basis="dct"),
    Method("rotation", "coefficients of a random rotation by magnitude", basis="rotation"),
    Method("shuffled", "wavelet coefficients of shuffled weights by magnitude", basis="shuffled"),
)
_THRESHOLDS = (
    Threshold(
        "percentile",
        "prune this share of the coefficients",
        "wavesweep.pruning.thresholds:percentile",
        uses=("percentile",),
    ),
    Threshold(
        "universal",
        "keep what exceeds sigma * sqrt(2 ln n), sigma from the finest details (Donoho and Johnstone 1994)",
        "wavesweep.pruning.thresholds:universal",
    ),
    Threshold(
        "energy",
        "keep the fewest coefficients that hold this share of the squared norm",
        "wavesweep.pruning.thresholds:energy",
        uses=("energy",),
    ),
    Threshold(
        "absolute",
        "keep coefficients of at least this magnitude",
        "wavesweep.pruning.thresholds:absolute",
        uses=("value",),
    ),
    Preset(
        Threshold,
        "none",
        "prune nothing: quantisation decides what becomes zero",
        {"rule": "percentile", "percentile": 0.0},
    ),
)
_ALLOCATIONS = (
    Allocation("uniform", "the same share of every tensor"),
    Allocation("erk", "Erdos-Renyi-kernel densities (Evci et al. 2020)", "wavesweep.pruning.allocation:erk"),
    Allocation("lamp", "by LAMP scores (Lee et al. 2021)", "wavesweep.pruning.allocation:lamp"),
    Allocation(
        "sensitivity",
        "where it costs least accuracy, by the table of experiment=sensitivity",
        "wavesweep.pruning.allocation:sensitivity",
        uses=("sensitivity",),
    ),
)
_LAYOUTS = (
    Layout("auto", "spatial where there are axes of 16 or more, else channel", "wavesweep.transform.layout:auto"),
    Layout(
        "spatial",
        "kernel height and width; of a first linear layer the image's grid",
        "wavesweep.transform.layout:spatial",
    ),
    Layout("channel", "outputs and inputs", "wavesweep.transform.layout:channel"),
    Layout("all", "all axes", "wavesweep.transform.layout:every_axis"),
    Layout("flat", "all weights in one row", "wavesweep.transform.layout:flat"),
)
_LAYER_TYPES = (
    LayerType("conv", "weights of convolutions, grouped and transposed ones too", "wavesweep.pruning.kinds:is_conv"),
    LayerType(
        "linear",
        "weights of linear layers (Conv1D of Hugging Face too), matrices of attention",
        "wavesweep.pruning.kinds:is_linear",
    ),
    LayerType("recurrent", "matrices of LSTM, GRU and RNN, and of their cells", "wavesweep.pruning.kinds:is_recurrent"),
    LayerType("embedding", "tables of Embedding and EmbeddingBag", "wavesweep.pruning.kinds:is_embedding"),
    LayerType(
        "parameter",
        "all other parameters of two or more dimensions: positions, class tokens, weights of layers of your own",
    ),
    LayerType(
        "large",
        "matrices of every kind, except the smallest, which have less than 1 % of the parameters together",
        of_any_kind=True,
        left_out=0.01,
    ),
    LayerType("all", "every parameter of two or more dimensions", of_any_kind=True),
)
_TRAINING = ("optimizer", "learning_rate", "weight_decay", "batch_size", "augment", "precision")
_MASKED = (*_TRAINING, "regrow", "distillation", "ramp", "quantize_epochs")
_BITS_IN_THE_LOSS = ("step", "rate_weight", "group_weight", "freeze_epochs")
_MASKED_TRAINING = "wavesweep.training.masked:Masked"
_RETRAININGS = (
    Retraining("none", "what pruning leaves is stored as it is"),
    Retraining(
        "finetune",
        "prune once, then train the coefficients that are kept",
        _MASKED_TRAINING,
        uses=(*_MASKED, "epochs", "schedule"),
    ),
    Retraining(
        "iterative",
        "prune, retrain, prune further, in retrain.rounds rounds (Han et al. 2015)",
        _MASKED_TRAINING,
        uses=(*_MASKED, "epochs", "schedule", "rounds"),
        sets={"epochs": 20},
    ),
    Retraining(
        "gradual",
        "prune a little 20 times per epoch, on a cubic schedule (Zhu and Gupta 2017)",
        _MASKED_TRAINING,
        uses=(*_MASKED, "epochs", "schedule"),
        sets={"epochs": 20},
    ),
    Retraining(
        "rewind",
        "prune, return to the learning rate or weights of an early epoch, train again (Renda et al. 2020)",
        _MASKED_TRAINING,
        uses=(*_MASKED, "rounds", "rewind", "rewind_epoch"),
        sets={"rounds": 1},
    ),
    Retraining(
        "rate",
        "the file's bits in the loss (Oktay et al. 2020); with threshold=none the bits alone decide what becomes zero",
        "wavesweep.training.rate:Rate",
        uses=(*_TRAINING, *_BITS_IN_THE_LOSS, "distillation", "epochs", "schedule", "ramp"),
        sets={
            "epochs": 20,
            "optimizer": "adam",
            "learning_rate": 0.003,
            "weight_decay": 0.0,
            "batch_size": 256,
            "rate_weight": 1.0,
            "ramp": 0.3,
        },
    ),
)
_SHARED_STORAGE = ("other", "other_bits")
_STEPS = ("bits", "step", "dead_zone", "per", "atom_norm", "max_drop", "max_drop_in")
_WEIGHED = ("rate_weight", "importance", "damping", "images")
_QUANTIZERS = (
    Quantizer(
        "none",
        "coefficients as floating-point numbers",
        "wavesweep.quantization.quantize:floats",
        uses=("coefficients", *_SHARED_STORAGE),
    ),
    Quantizer(
        "uniform",
        "integers times a step: quantize.bits over each layer's range, quantize.step, or quantize.max_drop",
        "wavesweep.quantization.quantize:uniform",
        uses=(*_STEPS, *_WEIGHED, *_SHARED_STORAGE),
    ),
    Quantizer(
        "kmeans",
        "an optimal codebook per layer (Han et al. 2016); zero is a symbol of its own",
        "wavesweep.quantization.quantize:kmeans",
        uses=("bits", *_SHARED_STORAGE),
        sets={"bits": 5},
    ),
    Preset(
        Quantizer,
        "rdo",
        "symbols that minimise the outputs' distortion plus their bits; use threshold=none with it",
        {
            "name": "uniform",
            "step": 0.1,
            "rate_weight": 0.1,
            "importance": "second_order",
            "images": 4096,
            "other": "quantized",
        },
    ),
)
_CODECS = (
    Codec("range", "context-adaptive range coding", "wavesweep.codec.range_coder"),
    Codec("huffman", "relative indices and Huffman codes (Han et al. 2016)", "wavesweep.codec.huffman"),
    Codec("none", "symbols of fixed length and a bit mask", "wavesweep.codec.packed"),
)
_SAMPLERS = (
    Sampler("tpe", "multivariate tree-structured Parzen estimator", "wavesweep.sweep.search.samplers:tpe"),
    Sampler("gp", "Gaussian process", "wavesweep.sweep.search.samplers:gp"),
    Sampler("nsga2", "NSGA-II", "wavesweep.sweep.search.samplers:nsga2"),
    Sampler("nsga3", "NSGA-III", "wavesweep.sweep.search.samplers:nsga3"),
    Sampler("qmc", "scrambled Sobol sequence", "wavesweep.sweep.search.samplers:qmc"),
    Sampler("random", "independent random points", "wavesweep.sweep.search.samplers:random"),
    Sampler("grid", "each point once, in order", "wavesweep.sweep.search.samplers:grid", is_exhaustive=True),
    Sampler(
        "brute_force",
        "each point once, in random order",
        "wavesweep.sweep.search.samplers:brute_force",
        is_exhaustive=True,
    ),
)
_ZERO = "wavesweep.sweep.objectives:zero"
_OBJECTIVES = (
    Objective(
        "accuracy", "validation accuracy", "wavesweep.sweep.objectives:accuracy", title="validation %", worst=_ZERO
    ),
    Objective("f1", "macro F1 on validation", "wavesweep.sweep.objectives:f1", title="validation F1 %", worst=_ZERO),
    Objective(
        "stored_bytes",
        "size of the file",
        "wavesweep.sweep.objectives:stored_bytes",
        maximize=False,
        title="bytes",
        is_percent=False,
        is_known_early=True,
        worst="wavesweep.sweep.objectives:dense_bytes",
    ),
    Objective(
        "sparsity",
        "share of coefficients that are zero",
        "wavesweep.sweep.objectives:sparsity",
        title="sparsity %",
        is_known_early=True,
        worst=_ZERO,
    ),
    Objective(
        "macs",
        "multiply-accumulates for one input",
        "wavesweep.sweep.objectives:macs",
        maximize=False,
        title="MACs",
        is_percent=False,
        worst="wavesweep.sweep.objectives:dense_macs",
    ),
)
_TASKS = (
    Task("classification", "one class per input: accuracy", "wavesweep.tasks.usual:Classification"),
    Task("regression", "numbers: R2, by the mean squared error", "wavesweep.tasks.usual:Regression"),
    Task(
        "segmentation",
        "a class per pixel: mean IoU; task.arguments={ignore: CLASS} leaves one out",
        "wavesweep.tasks.usual:Segmentation",
        uses=("arguments",),
    ),
    Task(
        "language_model",
        "the next token: bits per token, or with task.arguments={token: character} per character",
        "wavesweep.tasks.usual:LanguageModel",
        uses=("arguments",),
    ),
    Task(
        "custom",
        "your own: task.target=package.module.Task, a class that derives from wavesweep.tasks.Task",
        uses=("target", "arguments"),
        sets={"target": None, "arguments": {}},
    ),
)
_NORMALIZATIONS = (
    Normalization("imagenet", "torchvision's weights", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    Normalization("cifar10", "CIFAR-10", mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.2435, 0.2616)),
    Normalization("cifar100", "CIFAR-100", mean=(0.5071, 0.4867, 0.4408), std=(0.2675, 0.2565, 0.2761)),
    Normalization("mnist", "MNIST", mean=(0.1307,), std=(0.3081,)),
    Normalization("fashion_mnist", "Fashion-MNIST", mean=(0.286,), std=(0.353,)),
    Normalization("half", "from -1 to 1", mean=(0.5,), std=(0.5,)),
    Normalization("none", "from 0 to 1"),
)
_DATA_SETS = (
    DataSet("digits", "scikit-learn's digits, 8x8; needs no download", "wavesweep.data.datasets:digits"),
    DataSet("mnist", "MNIST, 28x28", "wavesweep.data.datasets:mnist"),
    DataSet("fashion_mnist", "Fashion-MNIST, 28x28", "wavesweep.data.datasets:fashion_mnist"),
    DataSet("cifar10", "CIFAR-10, 32x32 in colour", "wavesweep.data.datasets:cifar10"),
    DataSet("cifar100", "CIFAR-100, 32x32 in colour", "wavesweep.data.datasets:cifar100"),
    DataSet(
        "image_folder",
        "any directory of train/<class>/* and test/<class>/* (or val/<class>/*): dataset.path=DIRECTORY",
        "wavesweep.data.datasets:image_folder",
        uses=("path", "image_size", "resize", "channels"),
        sets={"path": None, "image_size": 32, "resize": None, "channels": 3},
        is_open=True,
    ),
    DataSet(
        "custom",
        "your own: dataset.target=package.module.factory, which returns (train, test) or (train, validation, test)",
        "wavesweep.data.datasets:custom",
        uses=("target", "arguments", "workers", "in_memory"),
        sets={"target": None, "arguments": {}},
        is_open=True,
    ),
)


def _adam(epochs: int, batch_size: int = 128) -> dict[str, object]:
    recipe = {"optimizer": "adam", "learning_rate": 0.001, "schedule": "cosine"}
    return {"recipe": {**recipe, "epochs": epochs, "batch_size": batch_size}}


def _sgd(
    learning_rate: float, weight_decay: float, schedule: str, epochs: int, batch_size: int = 128
) -> dict[str, object]:
    momentum = {"optimizer": "sgd", "learning_rate": learning_rate, "momentum": 0.9, "weight_decay": weight_decay}
    return {"recipe": {**momentum, "schedule": schedule, "epochs": epochs, "batch_size": batch_size, "augment": True}}


_ZOO = "wavesweep.models.zoo"
_MODELS = (
    Model("mlp", "two hidden layers of 256 and 128 units", f"{_ZOO}:mlp", sets=_adam(30, 64)),
    Model("lenet300", "LeNet-300-100", f"{_ZOO}:lenet300", sets=_adam(20)),
    Model("lenet5", "LeNet-5 as in Caffe", f"{_ZOO}:lenet5", sets=_adam(12)),
    Model("mlp5", "784-1000-1000-500-200-10 on MNIST, no biases", f"{_ZOO}:mlp5", sets=_adam(12)),
    Model("fashion_cnn", "two convolutions and two linear layers", f"{_ZOO}:fashion_cnn", sets=_adam(12)),
    Model(
        "resnet18",
        "ResNet-18: a 3x3 stem for images up to 64 pixels, the ImageNet stem above",
        f"{_ZOO}:resnet18",
        sets=_sgd(0.1, 0.0005, "cosine", 100),
    ),
    Model(
        "resnet20",
        "ResNet-20 for CIFAR-sized images, with the recipe of He et al. 2016",
        f"{_ZOO}:resnet20",
        sets=_sgd(0.1, 0.0001, "multistep", 160),
    ),
    Model(
        "resnet56",
        "ResNet-56 for CIFAR-sized images, with the recipe of He et al. 2016",
        f"{_ZOO}:resnet56",
        sets=_sgd(0.1, 0.0001, "multistep", 160),
    ),
    Model(
        "densenet100",
        "DenseNet-BC of 100 layers and growth rate 12, with the recipe of Huang et al. 2017",
        f"{_ZOO}:densenet100",
        sets=_sgd(0.1, 0.0001, "multistep", 300, 64),
    ),
    Model(
        "custom",
        "your own: model.target=package.module.factory, and model.checkpoint=FILE if it is trained",
        sets={"target": None, "arguments": {}, "checkpoint": None, **_adam(0)},
    ),
    Preset(
        Model,
        "torchvision",
        "any classifier of torchvision: model.name=resnet50, with model.weights=DEFAULT or model.checkpoint=FILE",
        {"name": "resnet18", "source": "torchvision", "weights": None, **_sgd(0.01, 0.0001, "cosine", 0)},
    ),
)

ROWS: tuple[Row | Preset, ...] = (
    *_METHODS,
    *_BASES,
    *_SCORES,
    *_THRESHOLDS,
    *_ALLOCATIONS,
    *_LAYOUTS,
    *_LAYER_TYPES,
    *_RETRAININGS,
    *_QUANTIZERS,
    *_CODECS,
    *_SAMPLERS,
    *_OBJECTIVES,
    *_TASKS,
    *_NORMALIZATIONS,
    *_DATA_SETS,
    *_MODELS,
)
