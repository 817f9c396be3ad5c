# Cross-entropy of a target distribution p against softmax(z).
let z : R^n, p : R^n probability
def loss = -p'*log(softmax(z))

derive loss wrt z                 # the famous one
derive loss wrt z[j]
derive loss wrt z, z

# Without the fact that p sums to 1 it is not so simple.
let y : R^n
derive -y'*log(softmax(z)) wrt z

# The Jacobian of softmax itself.
derive softmax(z) wrt z
derive softmax(z)[i] wrt z[j]
