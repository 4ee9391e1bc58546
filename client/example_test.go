package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"raftkv/client"
	"raftkv/rpc/kvstream/kvpb"
)

// A write either succeeds, surely was not applied, or may have been applied;
// only the last case needs thought.
func Example() {
	c, err := client.New(client.Config{Endpoints: []string{"localhost:8001", "localhost:8002", "localhost:8003"}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	written, _, err := c.Write(ctx, &kvpb.WriteRequest{
		Op:           &kvpb.WriteRequest_Put{Put: &kvpb.Put{Key: []byte("name"), Value: []byte("Alice")}},
		CountHolders: true,
	})
	switch {
	case errors.Is(err, client.ErrUnknownOutcome):
		log.Fatal("read the key before trying again: ", err)
	case err != nil:
		log.Fatal(err)
	}
	fmt.Printf("held by %d of %d members\n", written.GetHolders(), written.GetMembers())

	read, answer, err := c.Range(ctx, &pb.RangeRequest{Key: []byte("name")})
	if err != nil {
		log.Fatal(err)
	}
	for _, pair := range read.GetKvs() {
		fmt.Printf("%s, as %s says\n", pair.GetValue(), answer.Endpoint)
	}
}

// Calls of many goroutines share frames, and each increment counts once, also
// when the leader is killed in between.
func ExampleSession() {
	c, err := client.New(client.Config{Endpoints: []string{"localhost:8001", "localhost:8002", "localhost:8003"}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	session, err := c.NewSession(client.SessionConfig{})
	if err != nil {
		log.Fatal(err)
	}
	defer session.Close()

	var visitors sync.WaitGroup
	for range 1000 {
		visitors.Go(func() {
			if _, err := session.Increment(context.Background(), []byte("visits"), 1); err != nil {
				log.Print(err)
			}
		})
	}
	visitors.Wait()
	v, _, err := session.Get(context.Background(), []byte("visits"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s visits\n", v.Bytes)
}

// What an error of a session's write says.
func ExampleSession_errors() {
	c, err := client.New(client.Config{Endpoints: []string{"127.0.0.1:1"}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	session, err := c.NewSession(client.SessionConfig{Timeout: 100 * time.Millisecond})
	if err != nil {
		log.Fatal(err)
	}
	defer session.Close()

	switch _, err := session.Put(context.Background(), []byte("name"), []byte("Alice")); {
	case err == nil, errors.Is(err, client.ErrApplied):
		fmt.Println("applied")
	case errors.Is(err, client.ErrNotApplied):
		fmt.Println("not applied")
	case errors.Is(err, client.ErrUnknownOutcome):
		fmt.Println("unknown")
	}
	// Output:
	// not applied
}

// Mistakes in a list of endpoints are told before anything is dialled.
func ExampleParseEndpoint() {
	fmt.Println(client.ParseEndpoint("http://localhost:8001"))
	fmt.Println(client.ParseEndpoint("localhost"))
	// Output:
	// localhost:8001 <nil>
	//  endpoint "localhost": want host:port or http://host:port
}
