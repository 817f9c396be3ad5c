# N samples in the rows of X, d features, targets y.
let X : R^{N x d}, y : R^N, w : R^d, lambda : R

# Least squares with a ridge.
def ridge = norm2(X*w - y)^2 + lambda*w'*w
derive ridge wrt w
derive ridge wrt w, w

# Logistic regression, labels -1 and 1.
def logistic = sum(softplus(-y .* (X*w)))
derive logistic wrt w
derive logistic wrt w, w
derive logistic wrt w[j]          # the same in components
