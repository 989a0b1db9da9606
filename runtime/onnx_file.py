"""An ONNX file, read and changed in places without the package onnx, which is heavy and not on a device.

Only what a change touches is written anew: weights, and fields that a later ONNX may add, stay byte for byte. Numbers of
fields are those of ONNX's public ``onnx.proto``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from lineside.runtime.errors import BundleDamaged
from lineside.runtime.protobuf import BYTES, MOST_FIELDS, Field, NotProtobuf, bytes_field, int_field, read, write

__all__ = ["Node", "OnnxFile", "ints_attribute", "text_attribute"]

GRAPH, OPSETS, FUNCTIONS = 7, 8, 25
"""Fields of ModelProto."""
NODES = 1
"""Field of GraphProto."""
INPUTS, OUTPUTS, NAME, OP_TYPE, ATTRIBUTES, DOMAIN = 1, 2, 3, 4, 5, 7
"""Fields of NodeProto."""
ATTRIBUTE_NAME, ATTRIBUTE_INT, ATTRIBUTE_TEXT, ATTRIBUTE_INTS, ATTRIBUTE_TYPE = 1, 3, 4, 8, 20
"""Fields of AttributeProto."""
INT, TEXT, INTS = 2, 3, 7
"""AttributeProto's types."""
FUNCTION_NAME, FUNCTION_DOMAIN = 1, 10
"""Fields of FunctionProto."""
OPSET_DOMAIN, OPSET_VERSION = 1, 2
"""Fields of OperatorSetIdProto."""


@dataclass(frozen=True)
class Node:
    """One node of the graph.

    Attributes:
        fields: All that the file says of it.
    """

    fields: tuple[Field, ...]

    @property
    def op_type(self) -> str:
        """Type, such as ``Conv``."""
        return _text(self.fields, OP_TYPE)

    @property
    def domain(self) -> str:
        """Domain of the type; empty for ONNX's own."""
        return _text(self.fields, DOMAIN)

    @property
    def name(self) -> str:
        """Its name, perhaps empty."""
        return _text(self.fields, NAME)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of its inputs; empty for one that is left out."""
        return tuple(field.text for field in self.fields if field.number == INPUTS)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of its outputs."""
        return tuple(field.text for field in self.fields if field.number == OUTPUTS)

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of its attributes."""
        return tuple(_text(read(field.data), ATTRIBUTE_NAME) for field in self.fields if field.number == ATTRIBUTES)

    def changed(
        self, op_type: str, domain: str, inputs: Sequence[str] | None = None, attributes: Sequence[Field] | None = None
    ) -> Node:
        """The node with another type.

        Args:
            op_type: The type.
            domain: Its domain.
            inputs: Other inputs; the same when None.
            attributes: Other attributes; the same when None.
        """
        replaced = {OP_TYPE, DOMAIN} | ({INPUTS} if inputs is not None else set())
        replaced |= {ATTRIBUTES} if attributes is not None else set()
        kept = [field for field in self.fields if field.number not in replaced]
        new = [bytes_field(INPUTS, name) for name in inputs or ()]
        new += [bytes_field(OP_TYPE, op_type), *([bytes_field(DOMAIN, domain)] if domain else [])]
        return Node((*new, *kept, *(attributes or ())))

    def with_attribute(self, attribute: Field) -> Node:
        """The node with one attribute put in the place of that of the same name, or behind the others."""
        name = _text(read(attribute.data), ATTRIBUTE_NAME)
        kept = [
            field
            for field in self.fields
            if field.number != ATTRIBUTES or _text(read(field.data), ATTRIBUTE_NAME) != name
        ]
        return Node((*kept, attribute))


class OnnxFile:
    """A model whose nodes, functions and operator sets may be looked at and changed.

    Args:
        data: Content of an ``.onnx`` file.

    Raises:
        BundleDamaged: It is none.
    """

    def __init__(self, data: bytes) -> None:
        try:
            self._model = read(data)
            graphs = [index for index, field in enumerate(self._model) if field.number == GRAPH]
            if len(graphs) != 1 or self._model[graphs[0]].wire != BYTES:
                raise NotProtobuf(f"it holds {len(graphs)} graphs")
            self._graph = read(self._model[graphs[0]].data)
            self.nodes = list(_nodes(self._graph))
            self._look_through()
        except NotProtobuf as error:
            raise BundleDamaged(
                f"the model is no readable ONNX file ({error}): copy the bundle again from where it was made"
            ) from error

    def _look_through(self) -> None:
        """Reads once what is asked for later, so that nonsense is found here and not in the middle of a change.

        Raises:
            NotProtobuf: A field is of another kind than it has to be.
        """
        _ = self.opsets, self.functions
        for node in self.nodes:
            _ = node.op_type, node.domain, node.name, node.inputs, node.outputs, node.attributes

    @property
    def opsets(self) -> dict[str, int]:
        """Version of each operator set, by domain; empty for ONNX's own."""
        found = {}
        for field in self._model:
            if field.number == OPSETS:
                entry = read(field.data)
                versions = [part.integer for part in entry if part.number == OPSET_VERSION]
                found[_text(entry, OPSET_DOMAIN)] = versions[-1] if versions else 0
        return found

    @property
    def functions(self) -> tuple[tuple[str, str], ...]:
        """Domain and name of each function of the file."""
        return tuple(_function(field) for field in self._model if field.number == FUNCTIONS)

    def types(self, domain: str) -> tuple[str, ...]:
        """Types of the graph's nodes in a domain, sorted, each once."""
        return tuple(sorted({node.op_type for node in self.nodes if node.domain == domain}))

    def change_nodes(self, change: Callable[[Node], Node]) -> None:
        """Puts other nodes in the place of nodes.

        Args:
            change: Gives for each node another, or the same one.
        """
        changed = [change(node) for node in self.nodes]
        if all(new is old for new, old in zip(changed, self.nodes, strict=True)):
            return
        olds, news = iter(self.nodes), iter(changed)
        graph = []
        for field in self._graph:
            if field.number == NODES:
                old, new = next(olds), next(news)
                graph.append(field if new is old else bytes_field(NODES, write(new.fields)))
            else:
                graph.append(field)
        self.nodes, self._graph = changed, graph
        self._model = [
            bytes_field(GRAPH, write(graph)) if field.number == GRAPH else field for field in self._model
        ]  # fmt: skip

    def drop_functions(self, domain: str, names: Collection[str]) -> None:
        """Takes functions out; nodes of their names must be executed by something else then.

        Args:
            domain: Domain of the functions.
            names: Their names; one that is not there does not matter.
        """
        gone = {(domain, name) for name in names}
        self._model = [field for field in self._model if field.number != FUNCTIONS or _function(field) not in gone]

    def add_opset(self, domain: str, version: int) -> None:
        """Declares a domain that is not declared yet.

        Args:
            domain: Name of the domain.
            version: Version of its operators that the graph is written in.
        """
        if domain not in self.opsets:
            entry = write([bytes_field(OPSET_DOMAIN, domain), int_field(OPSET_VERSION, version)])
            self._model.append(bytes_field(OPSETS, entry))

    def to_bytes(self) -> bytes:
        """The file; byte for byte the one that was read where nothing was changed."""
        return write(self._model)


def ints_attribute(name: str, values: Sequence[int] | int) -> Field:
    """An attribute of a node with a list of integers, or with one.

    Args:
        name: Its name.
        values: The integers.
    """
    if isinstance(values, int):
        content = [int_field(ATTRIBUTE_INT, values), int_field(ATTRIBUTE_TYPE, INT)]
    else:
        content = [*(int_field(ATTRIBUTE_INTS, value) for value in values), int_field(ATTRIBUTE_TYPE, INTS)]
    return bytes_field(ATTRIBUTES, write([bytes_field(ATTRIBUTE_NAME, name), *content]))


def text_attribute(name: str, value: str) -> Field:
    """An attribute of a node with a text.

    Args:
        name: Its name.
        value: The text.
    """
    content = [bytes_field(ATTRIBUTE_NAME, name), bytes_field(ATTRIBUTE_TEXT, value), int_field(ATTRIBUTE_TYPE, TEXT)]
    return bytes_field(ATTRIBUTES, write(content))


def _nodes(graph: Sequence[Field]) -> Iterator[Node]:
    """The nodes of a graph.

    Raises:
        NotProtobuf: One is no message, or all of them have more fields than a message may have.
    """
    count = 0
    for field in graph:
        if field.number == NODES:
            node = Node(tuple(read(field.data)))
            count += len(node.fields)
            if count > MOST_FIELDS:
                raise NotProtobuf(f"its nodes have more than {MOST_FIELDS} fields")
            yield node


def _text(fields: Sequence[Field], number: int) -> str:
    """The text of a field; empty where there is none, the last where there are several."""
    found = [field for field in fields if field.number == number]
    return found[-1].text if found else ""


def _function(field: Field) -> tuple[str, str]:
    """Domain and name of a function."""
    fields = read(field.data)
    return _text(fields, FUNCTION_DOMAIN), _text(fields, FUNCTION_NAME)
