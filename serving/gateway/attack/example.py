"""An example of an answer: what came of FGSM on a red square, on a model of ``model_store/``."""

from __future__ import annotations

from typing import Any

_ORIGINAL = (
    "iVBORw0KGgoAAAANSUhEUgAAACAAAAAgCAIAAAD8GO2jAAAAKElEQVR4nO3NMQEAAAjDMMC/ZzDBvlRA01vZJvwHAAAAAAAA"
    "AAAAbx2jxAE/i2AjOgAAAABJRU5ErkJggg=="
)
_ADVERSARIAL = (
    "iVBORw0KGgoAAAANSUhEUgAAACAAAAAgCAIAAAD8GO2jAAABSUlEQVR4nK1WSxbDIAic5rmY+1827NpF1covMVqeNY0Cw4Ah"
    "eZ0kAUAA9qneAuiXtiSYFwGIk3wDbYz//eCcDrvOCR5zsXBiJbYrmnuWAEFPnpqtgYctU4FEvhKdbyg/oMkUPRBqGkdD3vdb"
    "Z9HOJhiwjdGTk6A+AGoNwuN9cXDGrYj7uH+oJQ5UN6SDMq7BI++Rcs5gTS6N63Owf4oyLMNgL/eRqGO67p7qJGcA3EmUJHn2"
    "DFZpJHYK4LKh3kli9zcG5H0N1hhUtyJBI7IASwyaQ/5uXLNTuvMMTCixoW/Xjxj0iNNm5gEe1SDuvaOLzRqICj8y9TUw0fWd"
    "EPju1ZN8VTB58hWMBpTQvVQAMYuh2PVALzK1NSDocmHe+tXZcC9KF0q3RIseA1YFhP9YqI6UebHbaT29CKIqG+MCHUXSskIh"
    "Lk5C+30AAtZwO7DTbzoAAAAASUVORK5CYII="
)
_PERTURBATION = (
    "iVBORw0KGgoAAAANSUhEUgAAACAAAAAgCAIAAAD8GO2jAAAAUHRFWHREZXNjcmlwdGlvbgBQZXJ0dXJiYXRpb24sIDE1Ljkz"
    "NzUgdGltZXMgbGFyZ2VyIHRoYW4gbGlmZTsgbWlkLWdyZXkgaXMgbm8gY2hhbmdlLjPm/58AAAFdSURBVHicrVbbssMgCNzT"
    "8b9Zv5zzoDEiaLQNYztGF5aLwQCqVKWSqqRSFapQok7Kbl2/djcHofoHVeaMKgK0uZey+4gpkgEQ8plDQ7XFSqyXAPAac9eK"
    "Oxk3piJpccMjgLTlyEQ5wtTMtJXNFB0IbfY+1+rvdus/bZ43IpBrtMclAay7qer46i4OTr8VHYuewKaoebp3CGfCbhLV4Mh6"
    "BO6tvVHkpUPpBYJOvJ0hgt9yH4k5pp5/V6Q1mxWBfE+ALYKC+DZLEz1PsOj1S5novRYBZTdFpxFUh5iDRhQSnEZwOSS39Z7D"
    "XDjsFZ5lcCVW9O36KIJ2fRrrXBIc1SDuvVMCRuilZON+pOprMHjXDIXET1fP5KtCfFo9jfUm28cbkxz36tNoUH6CAL4GDFre"
    "cOtXYx0sGywMNiF4O2ZtVYY5w7tWjHoat6f19JKtW3GrSA60f0zFm0MLS+rvH+R+noLyhYyPAAAAAElFTkSuQmCC"
)

ANSWER: dict[str, Any] = {
    "model": "pgd-at-cifar10",
    "version": "1",
    "defence": "none",
    "attack": {
        "name": "fgsm",
        "access": "gradient",
        "minimises": False,
        "parameters": {
            "seed": 0,
            "target": None,
            "norm": "linf",
            "epsilon": 0.03137254901960784,
            "random_start": False,
            "loss": "ce",
        },
        "budget": {"norm": "linf", "epsilon": 0.03137254901960784},
    },
    "label": "airplane",
    "class_index": 0,
    "label_from": "model",
    "outcome": "held",
    "success": False,
    "survives_rounding": False,
    "reached": {"linf": 0.0313725508749485, "l2": 1.270491361618042},
    "reached_in_8_bits": {"linf": 0.0313725508749485, "l2": 1.270491361618042},
    "predictions": {
        "none": {
            "before": {
                "label": "airplane",
                "class_index": 0,
                "probability": 0.88072,
                "top_k": [
                    {"label": "airplane", "class_index": 0, "probability": 0.88072},
                    {"label": "cat", "class_index": 3, "probability": 0.057165},
                ],
                "probabilities": {
                    "airplane": 0.88072,
                    "automobile": 0.014266,
                    "bird": 0.003891,
                    "cat": 0.057165,
                    "deer": 0.004438,
                    "dog": 0.023601,
                    "frog": 0.011238,
                    "horse": 0.000444,
                    "ship": 0.003275,
                    "truck": 0.000963,
                },
            },
            "after": {
                "label": "airplane",
                "class_index": 0,
                "probability": 0.872011,
                "top_k": [
                    {"label": "airplane", "class_index": 0, "probability": 0.872011},
                    {"label": "cat", "class_index": 3, "probability": 0.062044},
                ],
                "probabilities": {
                    "airplane": 0.872011,
                    "automobile": 0.015103,
                    "bird": 0.003978,
                    "cat": 0.062044,
                    "deer": 0.004619,
                    "dog": 0.026359,
                    "frog": 0.011219,
                    "horse": 0.000484,
                    "ship": 0.00311,
                    "truck": 0.001073,
                },
            },
            "after_in_8_bits": {
                "label": "airplane",
                "class_index": 0,
                "probability": 0.872011,
                "top_k": [
                    {"label": "airplane", "class_index": 0, "probability": 0.872011},
                    {"label": "cat", "class_index": 3, "probability": 0.062044},
                ],
                "probabilities": {
                    "airplane": 0.872011,
                    "automobile": 0.015103,
                    "bird": 0.003978,
                    "cat": 0.062044,
                    "deer": 0.004619,
                    "dog": 0.026359,
                    "frog": 0.011219,
                    "horse": 0.000484,
                    "ship": 0.00311,
                    "truck": 0.001073,
                },
            },
            "fooled": False,
        }
    },
    "counts": {"forwards": 4, "backwards": 1, "queries": 3},
    "cost": {
        "gradients": 1,
        "forwards": 5,
        "images": 1,
        "seconds": 0.0129,
        "seconds_per_forward": 0.00209,
        "seconds_per_gradient": 0.00454,
    },
    "flags": [],
    "original": {"media_type": "image/png", "width": 32, "height": 32, "base64": _ORIGINAL},
    "adversarial": {"media_type": "image/png", "width": 32, "height": 32, "base64": _ADVERSARIAL},
    "perturbation": {
        "media_type": "image/png",
        "width": 32,
        "height": 32,
        "base64": _PERTURBATION,
        "scale": 15.9375,
    },
    "trace": {
        "queries": 1,
        "every": 1,
        "steps": [
            {
                "query": 0,
                "label": "airplane",
                "class_index": 0,
                "probability": 0.88072,
                "probability_of_label": 0.88072,
                "probabilities": [
                    0.88072,
                    0.014266,
                    0.003891,
                    0.057165,
                    0.004438,
                    0.023601,
                    0.011238,
                    0.000444,
                    0.003275,
                    0.000963,
                ],
                "loss": 0.12701508402824402,
                "linf": 0.0,
                "l2": 0.0,
                "png": _ORIGINAL,
            }
        ],
    },
    "timings": {
        "decode_ms": 14.778,
        "queue_ms": 0.017,
        "attack_ms": 87.137,
        "predict_ms": 36.078,
        "total_ms": 138.549,
    },
    "request_id": "0f8b6c1e5d7a4f0c9b3e2a1d6c5f4e3b",
}
