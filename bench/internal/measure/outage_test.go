package measure

import "testing"

func TestQuantileIsOneOfTheValues(t *testing.T) {
	values := []float64{5, 1, 4, 2, 3}
	for q, want := range map[float64]float64{0: 1, 0.2: 1, 0.5: 3, 0.9: 5, 1: 5} {
		if got := Quantile(values, q); got != want {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if values[0] != 5 {
		t.Error("the values were reordered")
	}
	if Quantile(nil, 0.5) != 0 || Quantile([]float64{1, 2, 3, 4}, 0.5) != 2 {
		t.Error("of nothing, or of an even number")
	}
}
