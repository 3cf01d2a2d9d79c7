module observer.test/go_server

go 1.24
