package adapter

var entries = []Entry{memory, mlp, linear, mixture, retrieval, positions, bias}
