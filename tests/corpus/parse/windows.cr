let X : R^{N x C x H x W}, F : R^{O x C x 3 x 3}, D : R^{C x 1 x k x k}, x : R^n, A : R^{m x n}
derive sum(conv(X, F, stride=2, pad=[1, 0], dilation=[1, 2])) wrt X, F
derive conv(X, D, groups=C, pad=floor(k/2))[1,1,1,1] wrt D
eval conv_x(conv(X, F), F, size=[H, W]) + conv_w(X, X, groups=C)[1,1,1,1]
derive sum(maxpool(x, 3, stride=2, pad=1)) wrt x
derive maxpool_y(A, A, [2]) + maxpool_x(A, A, [1]) wrt A
derive avgpool(X, 2, pad=1)[1,1,1,1] + maxpool_ties(x, 2)[1] wrt X
derive slice(A, [2, 1], stride=[1, 2], size=[m, 3]) + place(sumpool_x(A, [2]), 0) wrt A
derive concat(A, A, axis=2)[1,1] + gather(A, [1, 2; m, 1])[1,1,n] wrt A
derive sum(scatter(A, [1, 2], size=n, axis=1)) wrt A
