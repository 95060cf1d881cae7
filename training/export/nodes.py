"""Helpers for reading and changing a traced graph."""

from __future__ import annotations

from typing import Any

from torch.fx import Graph, Node


def shape(node: Node) -> list[Any]:
    """The shape of a node's value, which tracing left with the node; the batch is a symbol."""
    return list(node.meta["val"].shape)


def arguments(node: Node) -> list[Any]:
    """A node's positional arguments: other nodes and plain values."""
    return list(node.args)


class Constants:
    """The nodes that depend on the network's weights alone, moved to the graph's front for all others to use.

    Args:
        graph: The graph; it goes on computing the same.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._nodes: set[Node] = set()
        self._last = [node for node in graph.nodes if node.op == "placeholder"][-1]
        for node in list(graph.nodes):
            pure = node.op == "call_function" and not node.is_impure()
            if node.op == "get_attr" or (pure and all(source in self for source in node.all_input_nodes)):
                self._last.append(node)
                self._add(node)

    def __contains__(self, node: object) -> bool:
        return node in self._nodes

    def call(self, target: Any, *args: Any) -> Node:
        """A new constant: the operator ``target`` of constants and plain values."""
        with self._graph.inserting_after(self._last):
            node: Node = self._graph.call_function(target, args)
        self._add(node)
        return node

    def _add(self, node: Node) -> None:
        self._nodes.add(node)
        self._last = node
