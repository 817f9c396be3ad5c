# Layer normalisation of x, with gain g and offset c; eps keeps the root away from 0.
let x : R^n, g : R^n, c : R^n, eps : R positive
def centred = x - mean(x)
def y = g .* centred / sqrt(mean(centred.^2) + eps) + c

derive y wrt g
derive y[i] wrt c[j]
derive y[i] wrt x[j]
