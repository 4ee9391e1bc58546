package conformance

import (
	"strings"
	"testing"
)

func TestListIsSound(t *testing.T) {
	list, err := ParseList(testsTxt)
	if err != nil {
		t.Fatal(err)
	}
	count := map[Verb]int{}
	for _, e := range list.Tests {
		count[e.Verb]++
	}
	if count[VerbRun] == 0 || count[VerbSmoke] == 0 {
		t.Errorf("nothing to run: %v", count)
	}
	if list.maySkip("TestKVGetStream/NoTLS") {
		t.Error("a server without RangeStream would go unnoticed")
	}
	if !list.maySkip("TestKVGetStream/NoTLS/all_KVs_descending") {
		t.Error("the suite's own skip of sorted streams is not known")
	}
}

func TestListFaults(t *testing.T) {
	_, err := ParseList(strings.Join([]string{
		"# a comment", "", "run TestA", "smoke TestA", "out TestB", "run TestC because", "walk TestD", "run Tent", "skips ( reason",
	}, "\n"))
	for _, want := range []string{
		"line 4: TestA is listed twice", "line 5: out TestB: reason", "line 6: run TestC: reason", `line 7: "walk" is none of`,
		`line 8: "Tent" is not the name`, "line 9: subtests that are skipped",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in:\n%v", want, err)
		}
	}
}

func TestListMustBeComplete(t *testing.T) {
	list, err := ParseList("run TestA\nout TestGone it went")
	if err != nil {
		t.Fatal(err)
	}
	if err := list.CheckComplete([]string{"TestA", "TestGone"}); err != nil {
		t.Error(err)
	}
	err = list.CheckComplete([]string{"TestA", "TestNew"})
	for _, want := range []string{"TestNew of the suite is not in tests.txt", "TestGone in tests.txt is not in the suite"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in: %v", want, err)
		}
	}
}
