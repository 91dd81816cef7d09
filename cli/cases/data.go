package main

// dataCases are about data files: what recint data import makes of them.
var dataCases = map[string]check{
	"csv-gz": func(c *Case) { c.OK(c.Args()...) },
}
