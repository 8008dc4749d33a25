"""The conversation service: questions, answers and messages between agents."""
