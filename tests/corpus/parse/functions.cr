let k : Z
let x : R^n, A : R^{n x n} definite, D : R^{n x n} diagonal invertible, p : R^n probability, t : R
fun sigma : R -> R
fun swish(z) = z*sigmoid(z)
fun scaled(z) = t*z^2/(1 + z)
fun q(v, B) = v'*B*v
fun twice(v) = q(v, A) + q(2*v, A')
eval exp(x) + log(x) + sin(x) + cos(x) + tan(x) + tanh(x) + sinh(x) + cosh(x) + atan(x) + asin(x) + acos(x)
eval erf(x) + sqrt(x) + abs(x) + sign(x) + relu(x) + leaky_relu(x) + leaky_relu(x, 0.2) + elu(x) + selu(x) + gelu(x)
eval silu(x) + softplus(x) + sigmoid(x) + step(x) + softmax(x) + logsoftmax(x) + swish(x) + scaled(x) + sigma(x)
eval max(x) + min(x, 2)[1] + sum(x) + mean(x) + prod(x) + norm1(x) + norm2(x) + norm_inf(x) + mod(t, 2)
eval tr(A) + trace(A) + det(A) + logdet(A) + sum(inv(A)) + sum(pinv(A)) + sum(adj(A)) + sum(diag(x)) + sum(vec(A))
eval kron(A, I(2)) + zeros(2*n, 2*n) + ones(2*n, 2*n)
eval transpose(A) + e(1,n)*iota(n)' + delta(1,2)*A
derive twice(x) wrt x
derive sigmoid'(t) + sigmoid''(t)*sigma'''(t) + swish''(t) + exp'(t) wrt t
derive x'*A^k*x wrt x
