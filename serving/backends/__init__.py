"""What runs a model for the gateway: ONNX Runtime in this process, or a server elsewhere, behind one protocol."""
