let A : R^{m x n}, x : R^n, y : R^m
eval A[i,j]*delta(i,k)*y[k] + j
eval sum(i=1..m, j=1..n, A[i,j]*x[j])
eval prod(i=2..n, x[i] - x[i-1]) + max(i=1..n, x[i]) + min(i=1..n, i*x[i]) + mean(i=1..n, x[i])
eval [i=1..n, j=1..m : A[j,i] + if(i == j and not (i > 2 or j < 1), 1, 0)]
eval all(i=1..m, y[i] > 0) and any(i=1..n, x[i] <= 1) and true or false
eval x[floor((n+1)/2)] + x[mod(j,3)+1] * e(j,n)[1]
derive sum(j=1..m, (A*x)[j]^2) wrt x[i], x[j], A
