let n = 3; let w[1..n] : R = [1,2,3]; let x : R = 0.5
def o[0] = x
def o[i] = w[i]*o[i-1] for i in 1..n
eval o[n]; check o[2] wrt w[1]; eval [i=1..n : o[i]]
