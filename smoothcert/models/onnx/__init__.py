"""ONNX files as networks. No native parser and no code of the file: own translation, operator by operator.

graph        the file as data: operators and constants, or why it is refused
translation  the network under construction; sizes that depend on the batch
sizes        what operators read of a node; operators on sizes that depend on the batch
arithmetic, shapes, layers    the other operators
network      all together: bytes to a network
"""
