"""What runs a model for the gateway: ONNX Runtime here or a server elsewhere, behind one protocol."""
