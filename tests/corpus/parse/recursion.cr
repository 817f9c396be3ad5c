fun f(x, y) = f(y, x)
eval f(1, 2)