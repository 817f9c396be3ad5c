# The network of deep.cr with the skip of the exercise sheet: what the first layer makes also goes straight to the last.
let depth = 30
let x : R^64, W[1..depth] : R^{64 x 64}, b[1..depth] : R^64, A : R^{10 x 64}, c : R^10
def h[0] = x
def h[i] = sigmoid(W[i]*h[i-1] + b[i])   for i in 1..depth
def h[depth] = sigmoid(W[depth]*(h[depth-1] + h[1]) + b[depth])
def logits = A*h[depth] + c
eval logits
