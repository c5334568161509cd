"""What a network's predictions depend on: which inputs they need, and where on the coarse grid it looks.

Permutation importance is how much worse predictions become when an input loses its connection with the truth; a
saliency map is how much a prediction changes with the input of each coarse cell. Both tell about the network, not about
the atmosphere: of two inputs that say the same, a network may need only one.
"""

from dl4ds_core.explaining.gradients import GRADIENT_STEPS, chosen_cells, saliency
from dl4ds_core.explaining.permutation import importance

__all__ = ["GRADIENT_STEPS", "chosen_cells", "importance", "saliency"]
