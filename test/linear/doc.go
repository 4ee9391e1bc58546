// Package linear says whether what clients saw of single keys is linearizable:
// the model of a key with unique values, and Porcupine behind it. The simulator
// and the tests with real processes record their histories in its terms.
//
// What it does not do: record time, or decide what an error of a client means.
//
// # Rules for a history
//
//  1. Values that are written are not empty, and no two writes have the same:
//     "" is a key that does not exist.
//  2. An operation of unknown outcome may take effect at any time after its
//     call, or never. One that was not applied takes effect never: a history in
//     which somebody sees its value is not linearizable.
//  3. At most five clients write a key at once, or Porcupine does not end; whoever
//     checks sets a limit, and takes running into it for a failure.
package linear
