"""A network as a graph of its layers, for TensorBoard."""

from __future__ import annotations

import tensorflow as tf


def layer_graph(model: tf.keras.Model) -> tf.compat.v1.GraphDef:
    """The layers as nodes, those of a nested network under its name; variables are left out.

    Of the step that TensorFlow runs, a graph has thousands of nodes, and takes seconds to trace.

    Args:
      model: a functional or sequential network. Of another the layers are not connected.

    >>> graph = layer_graph(cloudtf.build_model("tiny", 4, (32, 32), weights=None))
    >>> [(node.name, node.op, list(node.input)) for node in graph.node][-1]
    ('probabilities', 'Dense', ['body/avg_pool'])
    """
    graph = tf.compat.v1.GraphDef()
    _add(graph, model, "", [])
    return graph


def _add(
    graph: tf.compat.v1.GraphDef, model: tf.keras.Model, scope: str, inputs: list[str]
) -> list[str]:
    """Adds the layers of a network that takes what the nodes `inputs` give.

    Returns:
      The names of the nodes that give what it gives.
    """
    outputs: dict[str, list[str]] = {}
    for layer in model.layers:
        before = [
            source.name
            for call in getattr(layer, "inbound_nodes", ())
            for source, *_ in call.iterate_inbound()
        ]
        # Those of other networks that share the layer are not here.
        of = [name for source in dict.fromkeys(before) for name in outputs.get(source, ())]
        of = of or inputs
        if isinstance(layer, tf.keras.Model):
            outputs[layer.name] = _add(graph, layer, f"{scope}{layer.name}/", of)
        else:
            node = graph.node.add(name=scope + layer.name, op=type(layer).__name__, input=of)
            outputs[layer.name] = [node.name]
    last = [outputs[name] for name in getattr(model, "output_names", ()) if name in outputs]
    return sum(last or list(outputs.values())[-1:], [])
