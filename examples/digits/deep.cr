# 30 layers of 64 sigmoid neurons on pictures of handwritten digits, 8 x 8, ten classes. Weights have no values here: they
# are drawn with variance 1/64, and biases are 0, as is usual at the start of a training.
let depth = 30
let x : R^64, W[1..depth] : R^{64 x 64}, b[1..depth] : R^64, A : R^{10 x 64}, c : R^10
def h[0] = x
def h[i] = sigmoid(W[i]*h[i-1] + b[i])   for i in 1..depth
def logits = A*h[depth] + c
eval logits
