module observer.test/truth

go 1.24
