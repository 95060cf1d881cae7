"""The Open Inference Protocol (V2, REST), as all parts of Holdfast speak it: gateway, backend, handler.

Sources: github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md; for tensors as
bytes behind the JSON, github.com/triton-inference-server/server, docs/protocol/extension_binary_data.md.
"""
