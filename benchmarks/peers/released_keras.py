"""The released networks in Keras, our own minimal port from their description; nothing of ours in it.

Axes are (segment, mel, time, channel), the layout that TensorFlow's CPU kernels want: the release is
channels first, which only transposes would add to. `norm="time"` normalises each time step, as the
release does (Keras's axis -1, channels first: C18 in docs/protocols.md); `"channel"` each filter.
Adam at 1e-3 with Keras's decay per update, dropout 0.25, batches of 4 songs, float32.
"""

import tf_keras as keras

MELS, FRAMES = 128, 31
FILTERS, POOLS = (32, 64, 128), (4, 4, 2)
NORM_AXIS = {"channel": -1, "time": 2}
layers = keras.layers


def adam(rate: float = 1e-3) -> keras.optimizers.Optimizer:
    """Adam with the release's decay of 4e-6 an update."""
    schedule = keras.optimizers.schedules.InverseTimeDecay(rate, 1, 4e-6)
    return keras.optimizers.Adam(schedule)


def convolution(x, filters: int, norm: str):
    """3x3 convolution, ReLU, batch norm."""
    x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
    return layers.BatchNormalization(axis=NORM_AXIS[norm])(x)


def encoder(norm: str, last_pool: bool = True) -> keras.Model:
    """(128, 31, 1) to (2, 31, 128), or (4, 31, 128) without the last pool."""
    x = start = keras.Input((MELS, FRAMES, 1))
    for filters, pool in zip(FILTERS, POOLS, strict=True):
        x = convolution(convolution(x, filters, norm), filters, norm)
        x = layers.Dropout(0.25)(layers.MaxPooling2D((pool, 1))(x))
    if last_pool:
        x = layers.MaxPooling2D((2, 1))(x)
    return keras.Model(start, x)


def scae(norm: str) -> keras.Model:
    """The denoising autoencoder, compiled: fit it on (x, x)."""
    start = keras.Input((MELS, FRAMES, 1))
    x = encoder(norm)(layers.GaussianNoise(0.3)(start))
    x = layers.UpSampling2D((2, 1))(x)
    inner = (1, *FILTERS[:-1])
    for filters, pool, out in zip(FILTERS[::-1], POOLS[::-1], inner[::-1], strict=True):
        x = convolution(layers.UpSampling2D((pool, 1))(x), filters, norm)
        if out > 1:
            x = layers.Dropout(0.25)(convolution(x, out, norm))
    model = keras.Model(start, layers.Conv2D(1, 3, padding="same")(x))
    model.compile(adam(), "mse")
    return model


def cpc(norm: str, past: int = 4, future: int = 2, size: int = 256) -> keras.Model:
    """Are these futures the consecutive ones? Fit it on (past and future segments, 0 or 1).

    An example holds all its segments, and a true and a false example of one utterance are two.
    """
    start = keras.Input((past + future, MELS, FRAMES, 1))
    project = keras.Sequential(
        [encoder(norm, last_pool=False), layers.Flatten(), layers.Dense(size),
         layers.BatchNormalization(), layers.Dense(size)]
    )  # fmt: skip
    z = layers.TimeDistributed(project)(start)
    context = layers.GRU(size)(z[:, :past])
    predicted = [layers.Dense(size)(context) for _ in range(future)]
    products = [layers.Dot(1)([p, z[:, past + step]]) / size for step, p in enumerate(predicted)]
    model = keras.Model(start, layers.Activation("sigmoid")(layers.Average()(products)))
    model.compile(adam(), "binary_crossentropy")
    return model


def classifier(norm: str, arch: str, frozen: bool, rate: float) -> keras.Model:
    """The encoder with 3 x FC 512 and three task blocks; a frozen encoder runs in every step."""
    if arch == "scae":
        body = keras.Sequential([encoder(norm), layers.Flatten()])
    else:
        body = keras.Sequential(
            [encoder(norm, last_pool=False), layers.Flatten(), layers.Dense(256),
             layers.BatchNormalization(), layers.Dense(256)]
        )  # fmt: skip
    body.trainable = not frozen
    start = keras.Input((MELS, FRAMES, 1))
    x = dense(body(start), 3)
    outputs = {
        task: layers.Dense(classes, activation="softmax", name=task)(dense(x, 2))
        for task, classes in {"quadrant": 4, "arousal": 2, "valence": 2}.items()
    }
    model = keras.Model(start, outputs)
    model.compile(adam(rate), dict.fromkeys(outputs, "sparse_categorical_crossentropy"))
    return model


def dense(x, count: int):
    """FC 512 and dropout, `count` times."""
    for _ in range(count):
        x = layers.Dropout(0.25)(layers.Dense(512, activation="relu")(x))
    return x
