let x : R^n, W : R^{m x n}, b : R^m, a : R^m
def f = W*x + b
def g = a' * relu(W*x + b)
fun sigma : R -> R
fun swish(z) = z*sigmoid(z)
fun q(A, v) = v'*A*v
let X : R^{3 x 3} symmetric, S : R^{k x k} positive definite,
    c : R positive, y : R^3 = [1, 2,
    3]
let k : Z; let h = 0.5
eval delta(i,j)*W[i,j] + i*2
eval x[i+1]-x[i]
eval sum(i=1..n, x[i]^2) + sum(i=1..m, j=1..n, W[i,j]) * mean(x)
eval [i=1..m, j=1..n : W[i,j]*delta(i,j)]
eval [1,2;3,4]^2
eval [[1,2],[3,4]]*[1,2]
eval all(i=1..m, b[i] > 0) and not any(x < 0)
check if(c > 0, x[1], 2)*c wrt c
derive swish(x)[1] wrt x
derive q(X, y) wrt X
eval swish'(c) + sigma''(c)
eval max(x) + min(c, 2, 3) + norm2(x)
eval S^-1 * S^k
eval 2^-1 - -3
eval e(i,n) + iota(n) + ones(n)
eval kron(I(2), X) 
