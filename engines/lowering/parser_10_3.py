"""Operators that the ONNX parser of TensorRT 10.3 takes, as data.

Sources: onnx/onnx-tensorrt at 10.3-GA (62bdde2). `docs/operators.md` lists the operators (those
with a Y) and opsets 9 to 20. The importers of the operators in decomposed graphs were checked for
types, attributes and constants (`onnxOpImporters.cpp`, `importerUtils.cpp`, `WeightsContext.cpp`).
The parser refuses no newer opset or IR version (`ModelImporter::importModel` looks at the oldest
opset only). It is built on ONNX 1.16, whose opset 21 and IR version 10 brought INT4 and
DequantizeLinear in blocks: scales have the rank of the weights, and the last axis of INT4 is even.
`IDequantizeLayer` (NvInfer.h at v10.3.0) takes only INT4 in blocks, 2-D constants, no zero points.
"""

from __future__ import annotations

FLOATS_OPSET, FLOATS_IR = 20, 9
BLOCKS_OPSET, BLOCKS_IR = 21, 10

_LIST = """
Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast
CastLike Ceil Celu Clip Concat Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum
DeformConv DepthToSpace DequantizeLinear Div Dropout Einsum Elu Equal Erf Exp Expand EyeLike
Flatten Floor Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalLpPool
GlobalMaxPool Greater GreaterOrEqual GridSample GroupNormalization GRU HardSigmoid HardSwish
Hardmax Identity If ImageScaler InstanceNormalization IsInf IsNaN LayerNormalization LeakyRelu
Less LessOrEqual Log LogSoftmax Loop LRN LSTM LpNormalization LpPool MatMul Max MaxPool Mean
MeanVarianceNormalization Min Mish Mod Mul Neg NonMaxSuppression NonZero Not OneHot Or Pad
ParametricSoftplus Pow PRelu QuantizeLinear RandomNormal RandomNormalLike RandomUniform
RandomUniformLike Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax
ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize ReverseSequence
RNN RoiAlign Round ScaledTanh Scan Scatter ScatterElements ScatterND Selu Shape Shrink Sigmoid
Sign Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan
Tanh ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Upsample Where Xor
"""
OPERATORS = frozenset(_LIST.split())
