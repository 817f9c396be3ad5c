# Machine Learning, sheet 11, Task 1: derivatives, where they are well defined.
#
#     chainrule derive task1.cr            the results
#     chainrule derive --steps task1.cr    how to get there
#     chainrule check task1.cr             against numbers that do not come from the formulas

let x : R^n, W : R^{m x n}, b : R^m, a : R^m

def f = W*x + b                     # f(x, W, b)
def g = a'*relu(W*x + b)            # g(x, a, W, b)

derive f[1] wrt x[j]                # (a)
derive f[1] wrt W[i,j]              # (b)
derive f[1] wrt b[i]                # (c)
derive relu(f)[1] wrt x[j]          # (d)
derive sigmoid(f)[1] wrt x[j]       # (e) expressed with the sigmoid itself
derive g wrt x[j]                   # (f)
