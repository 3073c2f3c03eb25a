"""Features: from audio files to one array of log-mel frames a role."""

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.float32]  # (T, n_mels)
