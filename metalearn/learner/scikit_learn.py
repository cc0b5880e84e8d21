"""Description of a learner to scikit-learn, which alone asks for it and is imported by it alone."""

from typing import Any


def tags() -> Any:
    """Returns the tags of a classifier of images or texts."""
    from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

    inputs = InputTags(two_d_array=False, three_d_array=True)
    return Tags("classifier", TargetTags(required=True), classifier_tags=ClassifierTags(), input_tags=inputs)


def routing() -> Any:
    """Returns the arguments beside images and labels: weights of the images in `score`."""
    from sklearn.utils.metadata_routing import MetadataRequest

    request = MetadataRequest(owner="Learner")
    request.score.add_request(param="sample_weight", alias=True)
    return request
