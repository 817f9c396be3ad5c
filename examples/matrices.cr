let A : R^{n x n}, B : R^{n x n}, X : R^{n x n} invertible, a : R^n, b : R^n, x : R^n

derive x'*A*x wrt x
derive x'*A*x wrt x, x
derive a'*inv(X)*b wrt X
derive det(X) wrt X
derive det(B) wrt B               # B may be singular: the adjugate
derive tr(A*X*A'*X) wrt X
derive norm2(A*x - b) wrt x

# A symmetric variable: its entries [i,j] and [j,i] move together. With --form gradient: (G + G')/2.
let S : R^{n x n} definite
derive logdet(S) wrt S
derive x'*S*x wrt S
