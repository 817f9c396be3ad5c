# chainrule eval numbers.cr
let A = [2, 1; 0, 3]
let x = [1, -1]

eval A*x
eval x'*A*x
eval inv(A)
eval [i=1..3, j=1..3 : 1/(i + j - 1)]
eval sum(k=1..100, 1/k^2)
