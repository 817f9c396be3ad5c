let x : R, w[1..N] : R
def o[0] = x
def o[i] = if(i > 2, o[i-2], x) + if(i >= 5, w[i], 0)*o[i-1] for i in 1..N
derive o[N] wrt x;
derive o[N]*(1
  + x) wrt w[2] ; derive max(i=1..N, o[i]) wrt x
