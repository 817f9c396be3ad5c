# Matrix factorisation T = U V'. The second derivative by U is a tensor with m*k*m*k entries; its formula has two factors.
let T : R^{m x n}, U : R^{m x k}, V : R^{n x k}
def loss = tr((T - U*V')*(T - U*V')')

derive loss wrt U
derive loss wrt V
derive loss wrt U, U              # 2 I (x) V'V
derive loss wrt U, V
