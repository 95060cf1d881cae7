"""Examples for the API's documentation: what a gateway answered about a model of ``model_store/``."""

from __future__ import annotations

from typing import Any

_REQUEST_ID = "0f8b6c1e5d7a4f0c9b3e2a1d6c5f4e3b"

#: A red square of 8x8 pixels.
RED_PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEklEQVR4nGP8z4AdMOEQH6QSAM1BAQ/oQeJvAAAAAElFTkSuQmCC"
)

CLASSIFICATION: dict[str, Any] = {
    "model": "pgd-at-cifar10",
    "version": "1",
    "defence": "none",
    "predictions": [
        {
            "label": "frog",
            "class_index": 6,
            "probability": 0.593931,
            "top_k": [
                {"label": "frog", "class_index": 6, "probability": 0.593931},
                {"label": "deer", "class_index": 4, "probability": 0.170185},
                {"label": "cat", "class_index": 3, "probability": 0.107602},
            ],
            "probabilities": {
                "airplane": 0.000683,
                "automobile": 0.001058,
                "bird": 0.091974,
                "cat": 0.107602,
                "deer": 0.170185,
                "dog": 0.030916,
                "frog": 0.593931,
                "horse": 0.001835,
                "ship": 0.001349,
                "truck": 0.000466,
            },
        }
    ],
    "timings": {"decode_ms": 0.468, "queue_ms": 0.143, "inference_ms": 1.613, "total_ms": 2.756},
    "request_id": _REQUEST_ID,
}

#: Without most of its figures and of its card.
MODEL: dict[str, Any] = {
    "name": "pgd-at-cifar10",
    "version": "1",
    "versions": ["1"],
    "description": "",
    "created": "2026-11-21T02:57:37Z",
    "method": "pgd-at",
    "dataset": {
        "name": "cifar10",
        "train_images": 50000,
        "note": "Read from cifar10.npz. 73 train and 20 test images are close copies of the originals, not "
        "the originals.",
    },
    "classes": ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"],
    "input": {"channels": 3, "height": 32, "width": 32},
    "head": "linear",
    "defences": ["none"],
    "threat_model": {"norm": "linf", "epsilon": 0.03137254901960784},
    "architecture": {"name": "wrn-16-2", "arguments": {}, "parameters": 691674},
    "training": {
        "epochs": 15.0,
        "steps": 5850,
        "seed": 0,
        "hardware": "1 to 2 CPU threads of a shared machine (AMD EPYC)",
        "seconds": 4871.0,
        "images_per_second": 153.7,
    },
    "parity": {
        "images": 84,
        "batch_sizes": [1, 2, 7, 32],
        "logits": 2.86102294921875e-06,
        "gradient": 0.008529145270586014,
        "gradient_sign": 1.0,
    },
    "evaluations": [
        {
            "command": "holdfast evaluate pgd-at-cifar10/1 --attack clean --attack fgsm --attack pgd-20 "
            "--attack cw-20 --attack dlr-20 --norm linf --epsilon 8/255 --images 2000 --batch-size 100 "
            "--seed 0",
            "date": "2026-11-21T03:04:09Z",
            "dataset": "cifar10, first 2,000 of 9,980 test images, digest c40162f758c9e8d2",
            "seed": 0,
            "figures": [
                {
                    "name": "clean",
                    "defence": "none",
                    "attack": None,
                    "parameters": {},
                    "threat_model": None,
                    "adaptive": True,
                    "accuracy": 0.751,
                    "interval": [0.7315789831291791, 0.7694586591204792],
                    "images": 2000,
                    "flags": [],
                },
                {
                    "name": "pgd-20",
                    "defence": "none",
                    "attack": "pgd-20",
                    "parameters": {
                        "norm": "linf",
                        "epsilon": 0.03137254901960784,
                        "random_start": True,
                        "loss": "ce",
                        "steps": 20,
                        "step_size": 0.00784313725490196,
                        "restarts": 1,
                        "stop_at_success": False,
                    },
                    "threat_model": {"norm": "linf", "epsilon": 0.03137254901960784},
                    "adaptive": True,
                    "accuracy": 0.416,
                    "interval": [0.3945795335709764, 0.4377425303773451],
                    "images": 2000,
                    "flags": [],
                },
            ],
            "unreliable": None,
        }
    ],
    "digest": "049d0e22d269789e95c60e17610709d02a567794a9ffadb94ff64920de638238",
    "card": "# pgd-at-cifar10, version 1\n",
}

PROBLEM: dict[str, Any] = {
    "type": "/problems#truncated-image",
    "title": "The image is truncated",
    "status": 422,
    "detail": "The image is truncated: its end is missing. Send the whole file; an upload may have broken "
    "off.",
    "instance": "/v1/models/pgd-at-cifar10/classify",
    "request_id": _REQUEST_ID,
}
