from tests.support.networks import image_CHW, small_network

__all__ = ["image_CHW", "small_network"]
